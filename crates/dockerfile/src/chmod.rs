//! `--chmod`: octal modes, and symbolic ones as chmod(1) has them with a umask of zero.

use crate::InvalidValue;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Absolute(u32),
    Symbolic(Vec<Action>),
}

/// `who`, `operator`, `permissions` of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Action {
    /// Bits of [`USER`], [`GROUP`], [`OTHER`].
    who: u32,
    operator: char,
    permissions: Vec<char>,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o0007;
const STICKY: u32 = 0o1000;

/// All bits that a mode can have.
const ALL: u32 = 0o7777;

impl Chmod {
    /// Reads a mode, with all variables expanded.
    ///
    /// # Errors
    ///
    /// What is neither octal up to 07777 nor symbolic.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue {
            message: format!("`{text}` is not a mode"),
            hint: Some("modes look like `644`, `0755` or `u=rwX,go=rX`".to_owned()),
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let octal = text.bytes().all(|b| matches!(b, b'0'..=b'7'));
            let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
            let mode = mode.filter(|mode| *mode <= ALL).ok_or_else(invalid)?;
            return Ok(Self(Change::Absolute(mode)));
        }
        let mut actions = Vec::new();
        for clause in text.split(',') {
            clause_actions(clause, &mut actions).ok_or_else(invalid)?;
        }
        Ok(Self(Change::Symbolic(actions)))
    }

    /// The mode (of the bits 07777) that a file or directory of mode `old` gets.
    pub fn apply(&self, old: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Absolute(mode) => *mode,
            Change::Symbolic(actions) => actions
                .iter()
                .fold(old & ALL, |mode, action| action.apply(mode, is_directory)),
        }
    }
}

/// Reads `[ugoa]*` and one or more of `[+-=][rwxXst…]`.
fn clause_actions(clause: &str, actions: &mut Vec<Action>) -> Option<()> {
    let end = clause.find(['+', '-', '='])?;
    let (who, mut rest) = clause.split_at(end);
    let mut mask = 0;
    for c in who.chars() {
        mask |= match c {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => ALL,
            _ => return None,
        };
    }
    if who.is_empty() {
        mask = ALL;
    }
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |e| e + 1);
        let permissions: Vec<char> = rest[1..end].chars().collect();
        let copies = permissions.iter().any(|c| matches!(c, 'u' | 'g' | 'o'));
        let known = |c: &char| matches!(c, 'r' | 'w' | 'x' | 'X' | 's' | 't');
        if copies && permissions.len() != 1 || !copies && !permissions.iter().all(known) {
            return None;
        }
        actions.push(Action {
            who: mask,
            operator,
            permissions,
        });
        rest = &rest[end..];
    }
    Some(())
}

impl Action {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        // The sticky bit belongs to nobody: whoever names it means it.
        let bits = self.bits(mode, is_directory) & (self.who | STICKY);
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !self.who) | bits,
        }
    }

    fn bits(&self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = 0;
        for permission in &self.permissions {
            bits |= match permission {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_directory || mode & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => STICKY,
                'u' => (mode >> 6 & 7) * 0o111,
                'g' => (mode >> 3 & 7) * 0o111,
                'o' => (mode & 7) * 0o111,
                _ => 0,
            };
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::Chmod;

    fn apply(text: &str, old: u32, is_directory: bool) -> u32 {
        Chmod::parse(text).unwrap().apply(old, is_directory)
    }

    #[test]
    fn f133_octal_modes() {
        assert_eq!(apply("0", 0o755, true), 0);
        assert_eq!(apply("7777", 0, false), 0o7777);
        assert_eq!(apply("0644", 0o777, false), 0o644);
        for bad in [
            "64a", "10000", "8", "-1", "", "0x1", "rwx", "u=rwxz", "q+r", "u+gr",
        ] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn f134_symbolic_modes() {
        assert_eq!(apply("u=rwX,go=rX", 0o700, true), 0o755);
        assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(apply("u=rwX,go=rX", 0o711, false), 0o755);
        assert_eq!(apply("a+X", 0o644, false), 0o644);
        assert_eq!(apply("go-w", 0o666, false), 0o644);
        assert_eq!(apply("+x", 0o644, false), 0o755);
        assert_eq!(apply("g=u", 0o640, false), 0o660);
        assert_eq!(apply("u+s,+t", 0o755, false), 0o5755);
        assert_eq!(apply("a=rx,u+w", 0, false), 0o755);
        assert_eq!(apply("u-x+r", 0o300, false), 0o600);
        assert_eq!(apply("=", 0o777, false), 0);
    }
}
