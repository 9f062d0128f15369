//! Running to the end: output, exit codes, what is visible inside.

use runtime::Exit;

use crate::bed::{Bed, is_root, output, run};

#[test]
fn priv_true_false_output_and_no_trace() {
    if !is_root() {
        return;
    }
    let bed = Bed::new();
    assert_eq!(run(&bed.spec(&["true"])).0, Exit::Code(0));
    assert_eq!(run(&bed.shell("exit 7")).0, Exit::Code(7));
    assert_eq!(run(&bed.shell("kill -9 $$")).0, Exit::Code(0));
    assert_eq!(output(&bed.spec(&["echo", "hello"])), "hello\n");
    assert!(bed.changes().is_empty(), "{:?}", bed.changes());
}
