//! From rules to a program for the kernel.

use std::collections::BTreeMap;

use sys::seccomp::Instruction;

use super::table::{Architecture, of_machine};
use super::{Action, Condition, Filter, Operator, Rule};

/// Offsets in what the kernel shows a filter (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const IF_GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ENOSYS: u16 = 38;

impl Action {
    fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(number) => 0x0005_0000 | u32::from(number),
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }
}

/// What a number gets: conditional answers in order, then the plain one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict<'a> {
    conditional: Vec<(&'a [Condition], Action)>,
    plain: Action,
}

impl Filter {
    /// The program for this machine; `None` where we have no table of its system calls.
    #[must_use]
    pub fn compile(&self) -> Option<Vec<Instruction>> {
        self.compile_for(std::env::consts::ARCH)
    }

    fn compile_for(&self, machine: &str) -> Option<Vec<Instruction>> {
        let architectures = of_machine(machine);
        if architectures.is_empty() {
            return None;
        }
        let mut program = vec![statement(LOAD, ARCHITECTURE)];
        for architecture in architectures {
            let part = self.part(architecture);
            program.push(conditional(IF_EQUAL, architecture.audit, 1, 0));
            program.push(jump(part.len()));
            program.extend(part);
        }
        program.push(statement(RETURN, Action::KillProcess.value()));
        Some(program)
    }

    fn part(&self, architecture: &Architecture) -> Vec<Instruction> {
        let mut rules: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in &self.rules {
            for name in &rule.names {
                rules.entry(name).or_default().push(rule);
            }
        }
        // Runs of numbers with the same verdict, each from its first number on.
        let mut runs: Vec<(u32, Verdict<'_>)> = Vec::new();
        let mut next = 0;
        let mut add = |number, verdict| {
            if runs
                .last()
                .is_none_or(|(_, last)| *last != verdict || !verdict.conditional.is_empty())
            {
                runs.push((number, verdict));
            }
        };
        let plain = |plain| Verdict {
            conditional: Vec::new(),
            plain,
        };
        for (number, name) in architecture.calls() {
            if number > next {
                add(next, plain(self.default));
            }
            add(
                number,
                self.verdict(rules.get(name).map(Vec::as_slice).unwrap_or_default()),
            );
            next = number + 1;
        }
        let unknown = match self.default {
            Action::Errno(_) => Action::Errno(ENOSYS),
            other => other,
        };
        add(next, plain(unknown));
        if let Some(foreign) = architecture.foreign_from {
            add(foreign, plain(Action::Errno(ENOSYS)));
        }
        let mut part = vec![statement(LOAD, NUMBER)];
        search(&runs, &mut part);
        part
    }

    fn verdict<'a>(&'a self, rules: &[&'a Rule]) -> Verdict<'a> {
        let plain = rules
            .iter()
            .find(|rule| rule.conditions.is_empty())
            .map_or(self.default, |rule| rule.action);
        let with_conditions = rules.iter().filter(|rule| !rule.conditions.is_empty());
        let mut conditional: Vec<_> = with_conditions
            .map(|rule| (rule.conditions.as_slice(), rule.action))
            .collect();
        // At the end of the list, conditions that lead to the plain answer change nothing.
        while conditional.pop_if(|(_, action)| *action == plain).is_some() {}
        Verdict { conditional, plain }
    }
}

/// The number is loaded: finds its run by halving.
fn search(runs: &[(u32, Verdict<'_>)], into: &mut Vec<Instruction>) {
    match runs {
        [] => into.push(statement(RETURN, Action::KillProcess.value())),
        [(_, verdict)] => answer(verdict, into),
        _ => {
            let (below, from) = runs.split_at(runs.len() / 2);
            let mut left = Vec::new();
            search(below, &mut left);
            let first = from.first().map_or(0, |(number, _)| *number);
            // Conditional jumps reach 255 instructions, plain ones any number.
            into.push(conditional(IF_GREATER_OR_EQUAL, first, 0, 1));
            into.push(jump(left.len()));
            into.extend(left);
            search(from, into);
        }
    }
}

fn answer(verdict: &Verdict<'_>, into: &mut Vec<Instruction>) {
    for (conditions, action) in &verdict.conditional {
        // Back to front, since each test jumps over what follows when it fails.
        let mut rest = vec![statement(RETURN, action.value())];
        for condition in conditions.iter().rev() {
            let mut with = test(condition, rest.len());
            with.append(&mut rest);
            rest = with;
        }
        into.append(&mut rest);
    }
    into.push(statement(RETURN, verdict.plain.value()));
}

/// Goes on if the condition holds, else jumps over `skip` instructions behind the test.
fn test(condition: &Condition, skip: usize) -> Vec<Instruction> {
    let offset = ARGUMENTS + 8 * u32::from(condition.index);
    // Little-endian, as all machines in our table are.
    let (low, high) = (offset, offset + 4);
    let (value_low, value_high) = halves(condition.value);
    let (masked_low, masked_high) = halves(condition.masked);
    let fail = jump(skip);
    match condition.operator {
        Operator::Equal => vec![
            statement(LOAD, high),
            conditional(IF_EQUAL, value_high, 0, 2),
            statement(LOAD, low),
            conditional(IF_EQUAL, value_low, 1, 0),
            fail,
        ],
        Operator::NotEqual => vec![
            statement(LOAD, high),
            conditional(IF_EQUAL, value_high, 0, 3),
            statement(LOAD, low),
            conditional(IF_EQUAL, value_low, 0, 1),
            fail,
        ],
        Operator::MaskedEqual => vec![
            statement(LOAD, high),
            statement(AND, value_high),
            conditional(IF_EQUAL, masked_high, 0, 3),
            statement(LOAD, low),
            statement(AND, value_low),
            conditional(IF_EQUAL, masked_low, 1, 0),
            fail,
        ],
        // high > v, or high == v and low > v
        Operator::Greater | Operator::GreaterOrEqual => {
            let compare = if condition.operator == Operator::Greater {
                IF_GREATER
            } else {
                IF_GREATER_OR_EQUAL
            };
            vec![
                statement(LOAD, high),
                conditional(IF_GREATER, value_high, 4, 0),
                conditional(IF_EQUAL, value_high, 0, 2),
                statement(LOAD, low),
                conditional(compare, value_low, 1, 0),
                fail,
            ]
        }
        // not (high > v), and not (high == v and low >= v)
        Operator::Less | Operator::LessOrEqual => {
            let compare = if condition.operator == Operator::Less {
                IF_GREATER_OR_EQUAL
            } else {
                IF_GREATER
            };
            vec![
                statement(LOAD, high),
                conditional(IF_GREATER, value_high, 3, 0),
                conditional(IF_EQUAL, value_high, 0, 3),
                statement(LOAD, low),
                conditional(compare, value_low, 0, 1),
                fail,
            ]
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of a number"
)]
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn statement(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn conditional(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn jump(over: usize) -> Instruction {
    Instruction {
        code: JUMP,
        jt: 0,
        jf: 0,
        k: u32::try_from(over).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    const NATIVE: u32 = 0xc000_003e;
    const THIRTY_TWO: u32 = 0x4000_0003;

    /// A filter program's meaning, as the kernel runs it.
    fn run(program: &[Instruction], arch: u32, number: u32, args: &[u64]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => arch,
            _ => {
                let value = args.get(((offset - 16) / 8) as usize).copied().unwrap_or(0);
                if offset.is_multiple_of(8) {
                    halves(value).0
                } else {
                    halves(value).1
                }
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |yes: bool| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => a = word(k),
                AND => a &= k,
                JUMP => at += k as usize,
                IF_EQUAL => at += branch(a == k),
                IF_GREATER => at += branch(a > k),
                IF_GREATER_OR_EQUAL => at += branch(a >= k),
                RETURN => return k,
                _ => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    fn default_program() -> Vec<Instruction> {
        Filter::default_for(&Capability::default_set())
            .compile_for("x86_64")
            .unwrap()
    }

    #[test]
    fn the_default_filter_decides_as_docker_does() {
        let program = default_program();
        let allow = Action::Allow.value();
        let errno = |number| Action::Errno(number).value();
        let new_user = 0x1000_0000;
        for (arch, number, args, expected) in [
            (NATIVE, 0, &[][..], allow),                   // read
            (NATIVE, 165, &[], errno(1)),                  // mount
            (NATIVE, 161, &[], allow),                     // chroot: SYS_CHROOT is in the set
            (NATIVE, 425, &[], errno(1)),                  // io_uring_setup
            (NATIVE, 56, &[0], allow),                     // clone
            (NATIVE, 56, &[new_user], errno(1)),           // clone into a user namespace
            (NATIVE, 435, &[], errno(38)),                 // clone3: libraries fall back
            (NATIVE, 41, &[2], allow),                     // socket of AF_INET
            (NATIVE, 41, &[38], errno(1)),                 // AF_ALG
            (NATIVE, 41, &[40], errno(1)),                 // AF_VSOCK
            (NATIVE, 41, &[16], allow),                    // AF_NETLINK
            (NATIVE, 135, &[0xffff_ffff], allow),          // personality: ask
            (NATIVE, 135, &[0x40000], errno(1)),           // personality: no randomisation
            (NATIVE, 470, &[], errno(38)),                 // not invented yet
            (NATIVE, 400, &[], errno(1)),                  // a hole
            (NATIVE, 0x4000_0000, &[], errno(38)),         // x32
            (NATIVE, u32::MAX, &[], errno(38)),            // x32
            (THIRTY_TWO, 3, &[], allow),                   // read
            (THIRTY_TWO, 21, &[], errno(1)),               // mount
            (THIRTY_TWO, 102, &[], allow),                 // socketcall
            (0x1234, 0, &[], Action::KillProcess.value()), // some other machine
        ] {
            assert_eq!(
                run(&program, arch, number, args),
                expected,
                "{arch:#x} {number} {args:?}"
            );
        }
    }

    #[test]
    fn every_capability_brings_its_calls() {
        let all = Filter::default_for(&Capability::all())
            .compile_for("x86_64")
            .unwrap();
        for number in [165, 272, 435, 321, 169, 175] {
            assert_eq!(
                run(&all, NATIVE, number, &[]),
                Action::Allow.value(),
                "{number}"
            );
        }
    }

    #[test]
    fn comparisons_are_of_64_bits() {
        let big = 0x1_0000_0005;
        let cases = [
            (Operator::Equal, [false, false, true, false, false]),
            (Operator::NotEqual, [true, true, false, true, true]),
            (Operator::Less, [true, true, false, false, false]),
            (Operator::LessOrEqual, [true, true, true, false, false]),
            (Operator::Greater, [false, false, false, true, true]),
            (Operator::GreaterOrEqual, [false, false, true, true, true]),
        ];
        for (operator, expected) in cases {
            let condition = Condition {
                index: 5,
                operator,
                value: big,
                masked: 0,
            };
            let rule = Rule {
                names: vec!["read".into()],
                action: Action::Errno(7),
                conditions: vec![condition],
            };
            let filter = Filter {
                default: Action::Allow,
                rules: vec![rule],
            };
            let program = filter.compile_for("x86_64").unwrap();
            for (value, expected) in [5, big - 1, big, big + 1, 0x2_0000_0000]
                .into_iter()
                .zip(expected)
            {
                let got =
                    run(&program, NATIVE, 0, &[0, 0, 0, 0, 0, value]) == Action::Errno(7).value();
                assert_eq!(got, expected, "{operator:?} {value:#x}");
            }
        }
    }

    #[test]
    fn the_first_fitting_conditions_win_over_the_plain_rule() {
        let condition = |value| {
            vec![Condition {
                index: 0,
                operator: Operator::Equal,
                value,
                masked: 0,
            }]
        };
        let rule = |action, conditions| Rule {
            names: vec!["read".into()],
            action,
            conditions,
        };
        let rules = vec![
            rule(Action::Errno(9), vec![]),
            rule(Action::Allow, condition(1)),
            rule(Action::Trap, condition(1)),
            rule(Action::Trap, condition(2)),
        ];
        let program = Filter {
            default: Action::KillThread,
            rules,
        }
        .compile_for("x86_64")
        .unwrap();
        let of = |value| run(&program, NATIVE, 0, &[value]);
        assert_eq!(
            [of(0), of(1), of(2)],
            [
                Action::Errno(9).value(),
                Action::Allow.value(),
                Action::Trap.value()
            ]
        );
    }

    #[test]
    fn programs_fit_the_kernel() {
        assert!(default_program().len() < 4096);
        assert!(
            Filter::default_for(&Capability::default_set())
                .compile_for("aarch64")
                .is_some()
        );
        assert!(
            Filter::default_for(&Capability::default_set())
                .compile_for("vax")
                .is_none()
        );
    }
}
