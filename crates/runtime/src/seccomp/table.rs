//! Names and numbers of system calls: facts of the kernel's interface, one file an architecture, `NUMBER NAME` a line.

/// An architecture as a filter program sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Architecture {
    /// `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    text: &'static str,
    /// Numbers from here on belong to another calling convention that does not exist for us.
    pub(super) foreign_from: Option<u32>,
}

const X86_64: Architecture = Architecture {
    audit: 0xc000_003e,
    text: include_str!("x86_64.txt"),
    foreign_from: Some(0x4000_0000),
};
const X86: Architecture = Architecture {
    audit: 0x4000_0003,
    text: include_str!("x86.txt"),
    foreign_from: None,
};
const AARCH64: Architecture = Architecture {
    audit: 0xc000_00b7,
    text: include_str!("aarch64.txt"),
    foreign_from: None,
};

/// The architectures whose programs run on a machine, by the name that Rust gives it; none where we have no table.
pub(super) fn of_machine(name: &str) -> &'static [Architecture] {
    match name {
        "x86_64" => &[X86_64, X86],
        "aarch64" => &[AARCH64],
        _ => &[],
    }
}

impl Architecture {
    /// `(number, name)`, by number.
    pub(super) fn calls(&self) -> impl Iterator<Item = (u32, &'static str)> {
        self.text.lines().filter_map(|line| {
            let (number, name) = line.split_once(' ')?;
            Some((number.parse().ok()?, name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_complete() {
        for (architecture, getpid) in [(X86_64, 39), (X86, 20), (AARCH64, 172)] {
            let calls: Vec<_> = architecture.calls().collect();
            assert_eq!(calls.len(), architecture.text.lines().count());
            assert!(calls.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(calls.contains(&(getpid, "getpid")));
        }
    }
}
