//! Programs that put another one's words together out of what they read or find.

use stockade_types::{EffectKind, Mark};

use crate::{
    shell::{Reader, State, Stream},
    text::{UNKNOWN, Word, is_unknown},
};

impl Reader<'_> {
    /// The program's words are followed by what `xargs` reads.
    pub(super) fn xargs(&mut self, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        let values = [
            "-I",
            "-n",
            "-P",
            "-L",
            "-d",
            "-E",
            "-s",
            "-a",
            "-i",
            "-j",
            "--max-args",
            "--max-procs",
            "--delimiter",
            "--replace",
            "--arg-file",
            "--jobs",
        ];
        let mut place = 0;
        let mut replaced = None;
        while let Some(word) = rest.get(place) {
            let text = word.text.as_str();
            if text.len() < 2 || !text.starts_with('-') {
                break;
            }
            place += 1;
            if let Some(glued) = text.strip_prefix("-I").filter(|glued| !glued.is_empty()) {
                replaced = Some(glued.to_owned());
            } else if values.contains(&text) {
                if matches!(text, "-I" | "-i" | "--replace") {
                    replaced = rest.get(place).map(|word| word.text.clone());
                }
                place += 1;
            }
        }
        let mut words = rest.get(place..).unwrap_or_default().to_vec();
        if words.is_empty() {
            return Stream::Unknown;
        }
        let given: Vec<Word> = match input {
            Stream::Text(text) => text
                .split_whitespace()
                .take(64)
                .map(Word::literal)
                .collect(),
            _ => vec![Word::anything()],
        };
        match replaced {
            Some(mark) => {
                let value = match given.as_slice() {
                    [only] => only.text.clone(),
                    _ => UNKNOWN.to_string(),
                };
                for word in &mut words {
                    word.text = word.text.replace(&mark, &value);
                }
            }
            None => words.extend(given),
        }
        self.run(&words, &mut state.clone(), &Stream::Unknown);
        Stream::Unknown
    }

    /// What `find` deletes, writes and starts.
    pub(super) fn find(&mut self, rest: &[Word], state: &mut State) {
        let is_expression = |word: &Word| word.text.starts_with(['-', '(', '!']);
        let starts: Vec<Word> = rest
            .iter()
            .skip_while(|word| matches!(word.text.as_str(), "-L" | "-P" | "-H"))
            .take_while(|word| !is_expression(word))
            .take(8)
            .cloned()
            .collect();
        let starts = if starts.is_empty() {
            vec![Word::literal(".")]
        } else {
            starts
        };
        let chosen = rest.iter().any(|word| {
            [
                "-name", "-iname", "-path", "-regex", "-mtime", "-mmin", "-newer", "-empty",
                "-size",
            ]
            .contains(&word.text.as_str())
        });
        if rest.iter().any(|word| word.several) {
            self.opaque("find", &[Mark::Unresolved]);
        }
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "-delete" => {
                    for start in &starts {
                        let target = if chosen { below(start) } else { start.clone() };
                        let marks = [Mark::Recursive, Mark::Bulk];
                        self.file_effect(EffectKind::FsDelete, "find", &target, &marks, state);
                    }
                }
                "-fprint" | "-fprint0" | "-fls" | "-fprintf" => {
                    if let Some(file) = words.next() {
                        self.file_effect(EffectKind::FsWrite, "find", file, &[], state);
                    }
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec"
                | "--exec-batch" => {
                    let command: Vec<Word> = words
                        .by_ref()
                        .take_while(|word| !matches!(word.text.as_str(), ";" | "+"))
                        .cloned()
                        .collect();
                    for start in &starts {
                        let found = if chosen { below(start) } else { start.clone() };
                        let command: Vec<_> = command
                            .iter()
                            .map(|word| Word {
                                text: word.text.replace("{}", &found.text),
                                ..word.clone()
                            })
                            .collect();
                        self.run(&command, &mut state.clone(), &Stream::Unknown);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Something in a folder.
fn below(folder: &Word) -> Word {
    if is_unknown(&folder.text) {
        return folder.clone();
    }
    let folder = folder.text.trim_end_matches('/');
    Word::literal(format!("{folder}/{UNKNOWN}"))
}
