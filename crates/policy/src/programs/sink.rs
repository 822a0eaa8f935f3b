use stockade_types::{Confidence, Effect, EffectKind, Mark};

use crate::{
    commands::Line,
    files::{self, Place},
    shell::{Reader, State, Stream},
    text::{Word, is_unknown, shown},
};

/// Where what a program does is put down.
pub(crate) struct Sink<'s, 'a> {
    reader: &'s mut Reader<'a>,
    state: &'s mut State,
    input: &'s Stream,
    output: Option<Stream>,
    empty: bool,
    /// How many effects there were before the program.
    before: usize,
}

/// Whether effects of this kind are on files.
pub(super) fn is_of_files(kind: EffectKind) -> bool {
    use EffectKind as Kind;
    matches!(
        kind,
        Kind::FsRead | Kind::FsWrite | Kind::FsDelete | Kind::FsPermission | Kind::FsLink
    )
}

impl<'s, 'a> Sink<'s, 'a> {
    pub(crate) fn new(reader: &'s mut Reader<'a>, state: &'s mut State, input: &'s Stream) -> Self {
        let before = reader.count();
        Self {
            before,
            reader,
            state,
            input,
            output: None,
            empty: true,
        }
    }

    /// What the program reads.
    pub(crate) fn input(&self) -> &Stream {
        self.input
    }

    /// What it prints, if its own function told.
    pub(crate) fn output(self) -> Option<Stream> {
        self.output
    }

    pub(crate) fn prints(&mut self, stream: Stream) {
        self.output = Some(stream);
    }

    /// An effect on something that is no file.
    pub(crate) fn effect(&mut self, line: &Line, kind: EffectKind, target: &str, marks: &[Mark]) {
        self.empty = false;
        let mut effect = Effect::new(kind, line.program.as_str())
            .on(shown(target))
            .marked(marks.iter().copied());
        if line.unresolved || is_unknown(target) {
            effect = effect.marked([Mark::Unresolved]).known(Confidence::Likely);
        }
        self.reader.add(effect);
    }

    /// An effect on the file `path`.
    pub(crate) fn path(&mut self, line: &Line, kind: EffectKind, path: &str, marks: &[Mark]) {
        self.on(line, kind, &Word::literal(path), marks);
    }

    /// An effect on what `word` names.
    pub(crate) fn on(&mut self, line: &Line, kind: EffectKind, word: &Word, marks: &[Mark]) {
        if is_of_files(kind) {
            self.empty = false;
            self.reader
                .file_effect(kind, &line.program, word, marks, self.state);
        } else {
            self.effect(line, kind, &word.text, marks);
        }
    }

    /// Where `path` leads from each folder that the shell may be in.
    pub(crate) fn places(&self, path: &str) -> Vec<Place> {
        let folders = self.state.folders.iter();
        folders
            .filter_map(|folder| files::place(path, folder.as_deref(), self.reader.around))
            .collect()
    }

    /// The program runs `text` as a shell does.
    pub(crate) fn script(&mut self, text: &str) {
        self.empty = false;
        let mut inside = self.state.clone();
        self.reader.script(text, &mut inside, &Stream::Unknown);
    }

    /// The program starts another.
    pub(crate) fn start(&mut self, words: &[Word]) {
        self.empty = false;
        let mut inside = self.state.clone();
        self.reader.run(words, &mut inside, self.input);
    }

    /// A file that came from elsewhere.
    pub(crate) fn fetched(&mut self, path: &str) {
        self.state.fetched.insert(path.to_owned());
        self.state.fetched.insert(format!("./{path}"));
    }

    pub(crate) fn was_fetched(&self, path: &str) -> bool {
        self.state.fetched.contains(path)
    }

    pub(crate) fn opaque(&mut self, what: &str) {
        self.empty = false;
        self.reader.opaque(what, &[Mark::Unresolved]);
    }

    /// Code of a language that the program runs.
    pub(crate) fn code(&mut self, line: &Line, text: &str) {
        self.empty = false;
        self.reader.code(&line.program, text);
    }

    /// Marks everything outward that the program does.
    pub(crate) fn mark_all(&mut self, mark: Mark) {
        self.reader.mark_since(self.before, mark);
    }

    /// A program of whose effects none occurred still ran.
    pub(super) fn end(&mut self, line: &Line) {
        if self.empty {
            self.reader
                .add(Effect::new(EffectKind::ExecRun, line.program.as_str()));
        }
    }
}
