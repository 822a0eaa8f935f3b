-- What was spent and is held, of each unit, on each account.
CREATE TABLE balance (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    cap INTEGER,
    spent INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, name, unit)
) STRICT, WITHOUT ROWID;

-- Processes that may hold something. A number is never given twice, so that a
-- lock file that was left behind is nobody's.
CREATE TABLE owner (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    agent TEXT NOT NULL,
    repository TEXT NOT NULL
) STRICT;

-- What an owner holds, on each of its five accounts of that day alike.
CREATE TABLE lease (
    owner INTEGER NOT NULL REFERENCES owner,
    day TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (owner, day, unit)
) STRICT, WITHOUT ROWID;

-- What each settled request came to, for reports.
CREATE TABLE charge (
    number INTEGER PRIMARY KEY,
    day TEXT NOT NULL,
    task TEXT NOT NULL,
    agent TEXT NOT NULL,
    repository TEXT NOT NULL,
    model TEXT NOT NULL,
    prices TEXT NOT NULL,
    input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_hour INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    turns INTEGER NOT NULL DEFAULT 0,
    commands INTEGER NOT NULL DEFAULT 0,
    subagents INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX charge_by_task ON charge (task);
CREATE INDEX charge_by_day ON charge (day);
