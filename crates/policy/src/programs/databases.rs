use stockade_types::{
    EffectKind,
    EffectKind::{DbDrop, DbRead, DbSchema, DbWrite, FsWrite, InfraDestroy},
    Mark,
};

use super::{Program, Sink, Target, cloud::is_production, program, row};
use crate::{commands::Line, shell::Stream, text::is_unknown};

pub(super) const PROGRAMS: &[Program] = &[
    program(&["psql", "pgcli", "cockroach", "usql"], &[])
        .values(&["-c", "--command", "-f", "--file", "-h", "--host", "-U", "--username", "-d", "--dbname", "-p", "--port", "-v", "-o", "-e", "--execute"])
        .special(sql),
    program(&["mysql", "mariadb", "mycli", "clickhouse-client", "clickhouse", "trino", "presto", "snowsql", "bq", "sqlcmd", "tsql", "isql", "duckdb", "beeline", "hive", "cqlsh"], &[])
        .values(&["-e", "--execute", "-h", "--host", "-u", "--user", "-P", "--port", "-D", "--database", "-q", "--query", "-c", "-Q"])
        .special(sql),
    program(&["sqlite3", "sqlite", "litecli"], &[]).values(&["-cmd", "-init", "-separator"]).special(sqlite),
    program(&["redis-cli", "valkey-cli", "keydb-cli", "memcached-tool"], &[]).values(&["-h", "-p", "-n", "-a", "-u", "-s", "--user"]).special(redis),
    program(&["mongo", "mongosh"], &[]).values(&["--eval", "--host", "--port", "-u", "-p", "--username", "--password"]).special(mongo),
    program(&["mongodump", "pg_dump", "pg_dumpall", "mysqldump", "mongoexport"], &[row("", DbRead).marks(&[Mark::Whole])]),
    program(&["mongorestore", "pg_restore", "mongoimport", "mysqlimport"], &[row("", DbWrite), row("", DbDrop).when(&["--drop", "--clean"])]),
    program(&["dropdb", "dropuser"], &[row("", DbDrop).on(Target::First)]).values(&["-h", "-U", "-p"]).special(production),
    program(&["createdb", "createuser", "initdb"], &[row("", DbSchema)]).values(&["-h", "-U", "-p"]).special(production),
    program(&["mysqladmin"], &[row("drop", DbDrop), row("create|password|flush-privileges", DbSchema), row("shutdown", InfraDestroy)]).values(&["-h", "-u", "-P"]),
    program(&["influx", "etcdctl3"], &[row("delete", DbDrop), row("write", DbWrite)]),
    program(
        &["prisma", "sequelize", "sequelize-cli", "knex", "typeorm", "drizzle-kit", "flyway", "liquibase", "alembic", "dbmate", "goose", "atlas", "sqlx", "diesel", "migrate", "rails", "rake", "artisan", "django-admin", "ecto"],
        &[
            row("migrate reset", DbDrop),
            row("db push", DbSchema),
            row("db push", DbDrop).when(&["--accept-data-loss", "--force-reset"]),
            row("migrate deploy|dev|resolve", DbSchema),
            row("db execute", DbWrite),
            row("db:drop|db:reset|db:purge|db:migrate:reset|db:schema:load|migrate:fresh|migrate:reset|schema:drop|clean|dropAll|drop-all|reset|flush|dropdb|db:wipe", DbDrop),
            row("db:migrate|db:rollback|migrate|migration:run|up|upgrade|update|down|downgrade|rollback|migrate:latest|migrate:rollback|push", DbSchema),
            row("database drop|reset", DbDrop),
            row("migration run|redo|revert", DbSchema),
            row("database reset|setup", DbDrop),
        ],
    )
    .special(production),
];

/// What a statement does, by its first words; `None` for one that is not known.
fn of_statement(statement: &str) -> Option<EffectKind> {
    let lower = without_comments(statement).to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '\\')
        .filter(|word| !word.is_empty())
        .collect();
    let has = |word: &str| words.contains(&word);
    Some(match *words.first()? {
        "drop" | "truncate" => DbDrop,
        "delete" | "update" if !has("where") => DbDrop,
        "alter" if has("drop") => DbDrop,
        "with" | "explain" if has("delete") || has("update") || has("insert") => DbWrite,
        // A query may call a function that writes files or starts programs.
        "select"
            if has("into")
                || has("pg_read_file")
                || has("lo_export")
                || has("dblink")
                || has("xp_cmdshell")
                || has("load_file") =>
        {
            DbWrite
        }
        "select" | "show" | "describe" | "desc" | "explain" | "with" | "use" | "set" | "begin"
        | "commit" | "rollback" | "values" | "pragma" | "analyze" | "fetch" | "table" | "end"
        | "start" => DbRead,
        "insert" | "update" | "delete" | "merge" | "replace" | "upsert" | "call" | "do"
        | "execute" | "copy" | "load" => DbWrite,
        "create" | "alter" | "grant" | "revoke" | "comment" | "reindex" | "vacuum" | "cluster"
        | "rename" => DbSchema,
        word if word.starts_with("\\!") => return None,
        "\\copy" | "\\i" | "\\o" | "\\gexec" => return None,
        word if word.starts_with('\\') => DbRead,
        _ => return None,
    })
}

/// Comments are no part of a statement, and may be written to hide one.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        // What stands in such a comment is run by MySQL.
        let (comment, behind) = after.split_once("*/").unwrap_or((after, ""));
        out.push_str(comment.strip_prefix('!').map_or(" ", |run| {
            run.trim_start_matches(|c: char| c.is_ascii_digit())
        }));
        rest = behind;
    }
    out.push_str(rest);
    let lines = out
        .lines()
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a text of several statements does.
fn statements(line: &Line, sink: &mut Sink<'_, '_>, text: &str) {
    for statement in text.split(';') {
        if statement.trim().is_empty() {
            continue;
        }
        let shell = statement
            .trim()
            .strip_prefix("\\!")
            .or(statement.trim().strip_prefix(".shell "))
            .or(statement.trim().strip_prefix(".system "));
        if let Some(command) = shell {
            sink.script(command);
        } else if let Some(kind) = of_statement(statement).filter(|_| !is_unknown(statement)) {
            sink.effect(line, kind, "", &[]);
        } else {
            // It could be anything, a write at least.
            sink.effect(line, DbWrite, "", &[Mark::Unresolved]);
        }
    }
}

fn sql(line: &Line, sink: &mut Sink<'_, '_>) {
    let given = ["-c", "--command", "-e", "--execute", "-q", "--query", "-Q"];
    let texts: Vec<String> = line.values(&given).map(|word| word.text.clone()).collect();
    let from_file = line.value(&["-f", "--file"]).is_some();
    for text in &texts {
        statements(line, sink, text);
    }
    if line.program == "bq" || line.program == "duckdb" {
        for word in line.operands.iter().skip(1) {
            statements(line, sink, &word.text);
        }
    }
    read_from_input(line, sink, texts.is_empty() && !from_file);
    if from_file {
        sink.effect(line, DbWrite, "", &[Mark::Unresolved]);
    }
    production(line, sink);
}

fn read_from_input(line: &Line, sink: &mut Sink<'_, '_>, reads: bool) {
    match sink.input().clone() {
        _ if !reads => {}
        Stream::Text(text) => statements(line, sink, &text),
        Stream::Nothing => {
            let lists = line.has("-l") || line.has("--list") || line.has("--version");
            sink.effect(
                line,
                if lists { DbRead } else { DbWrite },
                "",
                if lists { &[] } else { &[Mark::Unresolved] },
            );
        }
        Stream::Unknown | Stream::Remote => sink.effect(line, DbWrite, "", &[Mark::Unresolved]),
    }
}

/// A database in a file is a file.
fn sqlite(line: &Line, sink: &mut Sink<'_, '_>) {
    if let Some(file) = line.operands.first().filter(|file| file.text != ":memory:") {
        sink.on(line, FsWrite, file, &[]);
    }
    for text in line.operands.iter().skip(1).chain(line.values(&["-cmd"])) {
        for statement in text.text.split(';') {
            let command = statement.trim();
            if let Some(shell) = command
                .strip_prefix(".shell ")
                .or(command.strip_prefix(".system "))
            {
                sink.script(shell);
            }
            if let Some(file) = command
                .strip_prefix(".output ")
                .or(command.strip_prefix(".once "))
            {
                sink.path(line, FsWrite, file.trim(), &[]);
            }
        }
    }
}

fn redis(line: &Line, sink: &mut Sink<'_, '_>) {
    let verb = line.operand(0).to_ascii_uppercase();
    let kind = match verb.as_str() {
        "FLUSHALL" | "FLUSHDB" | "SHUTDOWN" | "SWAPDB" => DbDrop,
        "GET" | "MGET" | "KEYS" | "SCAN" | "INFO" | "PING" | "TTL" | "TYPE" | "EXISTS"
        | "LRANGE" | "HGETALL" | "HGET" | "SMEMBERS" | "ZRANGE" | "DBSIZE" | "MONITOR"
        | "STRLEN" | "LLEN" | "MEMORY" | "CLIENT" | "SLOWLOG" => DbRead,
        "CONFIG" | "SLAVEOF" | "REPLICAOF" | "MODULE" | "DEBUG" | "ACL" | "EVAL" | "SCRIPT" => {
            DbSchema
        }
        _ => DbWrite,
    };
    sink.effect(line, kind, line.operand(1), &[]);
    production(line, sink);
}

fn mongo(line: &Line, sink: &mut Sink<'_, '_>) {
    let text: String = line
        .values(&["--eval"])
        .map(|word| word.text.as_str())
        .collect();
    let drops = [
        "dropDatabase",
        ".drop(",
        "deleteMany({})",
        "remove({})",
        "dropUser",
        "dropCollection",
    ];
    let writes = [
        "insert",
        "update",
        "delete",
        "remove",
        "replace",
        "create",
        "bulkWrite",
        "$out",
        "$merge",
        "runCommand",
        "rename",
    ];
    let kind = if drops
        .iter()
        .any(|word| text.replace(' ', "").contains(word))
    {
        DbDrop
    } else if text.is_empty() || is_unknown(&text) || writes.iter().any(|word| text.contains(word))
    {
        DbWrite
    } else {
        DbRead
    };
    sink.effect(line, kind, line.operand(0), &[]);
    production(line, sink);
}

/// Nothing tells whose database it is, but a name may tell that it is one that
/// users rely on.
fn production(line: &Line, sink: &mut Sink<'_, '_>) {
    if is_production(line) {
        sink.mark_all(Mark::Production);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_whatever_is_written_around_them() {
        for (statement, kind) in [
            ("SELECT * FROM users", Some(DbRead)),
            ("  drop table users", Some(DbDrop)),
            ("/* only a look */ DROP TABLE users", Some(DbDrop)),
            ("/*!50000 DROP */ TABLE users", Some(DbDrop)),
            ("-- select\nTRUNCATE users", Some(DbDrop)),
            ("DELETE FROM users", Some(DbDrop)),
            ("DELETE FROM users WHERE id = 1", Some(DbWrite)),
            (
                "WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x",
                Some(DbWrite),
            ),
            ("ALTER TABLE a DROP COLUMN b", Some(DbDrop)),
            ("CREATE TABLE a (b int)", Some(DbSchema)),
            ("frobnicate", None),
        ] {
            assert_eq!(of_statement(statement), kind, "{statement}");
        }
    }
}
