//! Classic BPF: programs of a few steps that decide in the kernel what a socket hears.

/// One step of a program. All loads are big-endian; a load past the packet's end drops it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Loads the byte at this offset.
    LoadByte(u32),
    /// Loads the four bytes at this offset.
    LoadWord(u32),
    /// Skips so many steps unless the loaded value is this one.
    SkipUnless(u32, u8),
    /// Skips so many steps if the loaded value is this one.
    SkipIf(u32, u8),
    /// The packet is heard.
    Pass,
    /// The packet is not heard.
    Drop,
}

/// The kernel's form of a program.
pub(crate) fn program(steps: &[Step]) -> Vec<libc::sock_filter> {
    steps.iter().map(|step| instruction(*step)).collect()
}

fn instruction(step: Step) -> libc::sock_filter {
    let load = libc::BPF_LD | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let (code, k, jt, jf) = match step {
        Step::LoadByte(at) => (load | libc::BPF_B, at, 0, 0),
        Step::LoadWord(at) => (load | libc::BPF_W, at, 0, 0),
        Step::SkipUnless(value, steps) => (jump, value, 0, steps),
        Step::SkipIf(value, steps) => (jump, value, steps, 0),
        Step::Pass => (libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
        Step::Drop => (libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    };
    libc::sock_filter { code: u16::try_from(code).expect("opcodes are 16 bits"), jt, jf, k }
}
