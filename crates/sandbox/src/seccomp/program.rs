//! A compiler from rules to classic BPF, as seccomp(2) takes it.
//!
//! The rules become a binary search over system call numbers, so that each
//! call passes a handful of comparisons however many rules there are.

use std::collections::BTreeMap;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It goes on.
    Allow,
    /// It fails with this error number.
    Errno(u16),
    /// The whole process is killed.
    Kill,
}

/// What is done about one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Always the same.
    Always(Action),
    /// The first clause of which every test holds decides; if none does, the
    /// last action.
    When(Vec<(Vec<Test>, Action)>, Action),
}

/// A test on the lower 32 bits of an argument; the kernel itself ignores the
/// upper ones in every argument tested here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Which argument, from 0.
    pub(crate) argument: u8,
    /// Only these bits count.
    pub(crate) mask: u32,
    /// What is asked of them.
    pub(crate) condition: Condition,
}

/// A condition on the masked argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is this.
    Equals(u32),
    /// It is anything but this.
    Differs(u32),
}

/// One instruction, laid out as `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

/// A filter, ready to be installed.
#[derive(Debug)]
pub(crate) struct Program(Vec<Instruction>);

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

fn plain(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        value,
    }
}

fn branch(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        value,
    }
}

fn verdict(action: Action) -> Instruction {
    plain(
        RETURN,
        match action {
            Action::Allow => 0x7fff_0000,
            Action::Errno(number) => 0x0005_0000 | u32::from(number),
            Action::Kill => 0x8000_0000,
        },
    )
}

impl Program {
    /// Compiles `rules`; numbers above `newest` get `ENOSYS`, and a foreign
    /// architecture, or x32 on x86-64, kills.
    pub(crate) fn compile(rules: &BTreeMap<u32, Rule>, newest: u32) -> Self {
        let mut code = vec![
            plain(LOAD, ARCHITECTURE),
            branch(JUMP_EQUAL, NATIVE, 1, 0),
            verdict(Action::Kill),
            plain(LOAD, NUMBER),
        ];
        code.extend(search(&ranges(rules, newest)));
        Self(code)
    }

    /// The instructions.
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

/// The bit that marks an x32 call on x86-64; no other architecture has such numbers.
const X32: u32 = 0x4000_0000;

/// The rules as ranges that cover every number: (first number, rule).
fn ranges(rules: &BTreeMap<u32, Rule>, newest: u32) -> Vec<(u32, Rule)> {
    let allow = Rule::Always(Action::Allow);
    let unknown = Rule::Always(Action::Errno(38)); // ENOSYS
    let mut ranges: Vec<(u32, Rule)> = vec![(0, allow.clone())];
    for (number, rule) in rules.range(..=newest) {
        ranges.push((*number, rule.clone()));
        ranges.push((number + 1, allow.clone()));
    }
    ranges.push((newest + 1, unknown));
    ranges.push((X32, Rule::Always(Action::Kill)));
    // A rule at the very next number replaces the "allow" before it.
    ranges.reverse();
    ranges.dedup_by_key(|(first, _)| *first);
    ranges.reverse();
    ranges.dedup_by(|later, earlier| later.1 == earlier.1);
    ranges
}

fn search(ranges: &[(u32, Rule)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![verdict(Action::Kill)],
        [(_, rule)] => leaf(rule),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let first_high = high.first().map_or(0, |(first, _)| *first);
            let low = search(low);
            let over = u32::try_from(low.len()).unwrap_or(u32::MAX);
            let mut code = vec![
                branch(JUMP_GREATER_EQUAL, first_high, 0, 1),
                plain(JUMP, over),
            ];
            code.extend(low);
            code.extend(search(high));
            code
        }
    }
}

fn leaf(rule: &Rule) -> Vec<Instruction> {
    match rule {
        Rule::Always(action) => vec![verdict(*action)],
        Rule::When(clauses, otherwise) => {
            let mut code = Vec::new();
            for (tests, action) in clauses {
                for (index, test) in tests.iter().enumerate() {
                    // A test that fails skips the clause's other tests, of
                    // three instructions each, and its verdict.
                    let left = tests.len() - index - 1;
                    let skip = u8::try_from(3 * left + 1).unwrap_or(u8::MAX);
                    code.push(plain(LOAD, ARGUMENTS + 8 * u32::from(test.argument)));
                    code.push(plain(AND, test.mask));
                    code.push(match test.condition {
                        Condition::Equals(value) => branch(JUMP_EQUAL, value, 0, skip),
                        Condition::Differs(value) => branch(JUMP_EQUAL, value, skip, 0),
                    });
                }
                code.push(verdict(*action));
            }
            code.push(verdict(*otherwise));
            code
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a filter decides of a call of this architecture.
    pub(crate) fn decided(filter: &[Instruction], number: u32, arguments: [u64; 6]) -> u32 {
        run(filter, number, NATIVE, arguments)
    }

    /// What the kernel is told for `action`.
    pub(crate) fn told(action: Action) -> u32 {
        verdict(action).value
    }

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let jump = |taken: bool| {
                usize::from(if taken {
                    instruction.jump_true
                } else {
                    instruction.jump_false
                })
            };
            match instruction.code {
                LOAD => {
                    accumulator = match instruction.value {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => {
                            u32::try_from(arguments[(offset as usize - 16) / 8] & 0xffff_ffff)
                                .unwrap()
                        }
                    }
                }
                AND => accumulator &= instruction.value,
                JUMP => at += instruction.value as usize,
                JUMP_EQUAL => at += jump(accumulator == instruction.value),
                JUMP_GREATER_EQUAL => at += jump(accumulator >= instruction.value),
                RETURN => return instruction.value,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn rules() -> BTreeMap<u32, Rule> {
        let deny = |number| Rule::Always(Action::Errno(number));
        let test = |argument, value| Test {
            argument,
            mask: 0xf,
            condition: Condition::Equals(value),
        };
        BTreeMap::from([
            (5, deny(1)),
            (6, deny(1)),
            (
                9,
                Rule::When(vec![(vec![test(1, 3)], Action::Errno(13))], Action::Allow),
            ),
            (
                11,
                Rule::When(
                    vec![(vec![test(0, 1), test(1, 2), test(2, 3)], Action::Allow)],
                    Action::Errno(2),
                ),
            ),
            (40, deny(1)),
        ])
    }

    #[test]
    fn every_number_meets_exactly_its_rule() {
        let program = Program::compile(&rules(), 100);
        for number in 0..=200 {
            let expected = match number {
                5 | 6 | 40 => verdict(Action::Errno(1)),
                11 => verdict(Action::Errno(2)),
                101.. => verdict(Action::Errno(38)),
                _ => verdict(Action::Allow),
            };
            assert_eq!(
                run(program.instructions(), number, NATIVE, [0; 6]),
                expected.value,
                "{number}"
            );
        }
    }

    #[test]
    fn only_the_masked_lower_bits_of_an_argument_count() {
        let program = Program::compile(&rules(), 100);
        let call = |argument| run(program.instructions(), 9, NATIVE, [0, argument, 0, 0, 0, 0]);
        assert_eq!(call(3), verdict(Action::Errno(13)).value);
        assert_eq!(
            call(0xffff_ffff_0000_0013),
            verdict(Action::Errno(13)).value
        );
        assert_eq!(call(4), verdict(Action::Allow).value);
    }

    #[test]
    fn a_clause_decides_only_when_all_its_tests_hold() {
        let program = Program::compile(&rules(), 100);
        let call = |first, second, third| {
            run(
                program.instructions(),
                11,
                NATIVE,
                [first, second, third, 0, 0, 0],
            )
        };
        assert_eq!(call(1, 2, 3), verdict(Action::Allow).value);
        for (first, second, third) in [(0, 2, 3), (1, 0, 3), (1, 2, 0)] {
            assert_eq!(call(first, second, third), verdict(Action::Errno(2)).value);
        }
    }

    #[test]
    fn a_foreign_architecture_and_x32_are_killed() {
        let program = Program::compile(&rules(), 100);
        assert_eq!(
            run(program.instructions(), 1, 0x4000_0003, [0; 6]),
            verdict(Action::Kill).value
        );
        assert_eq!(
            run(program.instructions(), X32 | 1, NATIVE, [0; 6]),
            verdict(Action::Kill).value
        );
    }
}
