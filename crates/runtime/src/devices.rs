//! Which devices a container may use: it may make any device file, and use those that every
//! container has. Version 1 of control groups has a list; on version 2 the kernel asks a program.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::sys;

/// Devices of every container: name, major and minor number.
pub const COMMON: [(&str, i32, i32); 8] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("console", 5, 1),
    ("ptmx", 5, 2),
];

/// Major number of pseudo terminals, of which all may be used.
const PSEUDO_TERMINALS: i32 = 136;

/// What the kernel passes as the kind of device, and of access.
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;

/// Lets the processes of the group at `dir` use only the common devices.
pub fn restrict(dir: &Path) -> io::Result<()> {
    sys::attach_device_filter(File::open(dir)?.as_fd(), &filter())
}

/// As [`restrict`], on version 1, where `dir` is in the hierarchy for devices.
pub fn restrict_legacy(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("devices.deny"), "a")?;
    let common = COMMON.iter().map(|(_, major, minor)| format!("c {major}:{minor} rwm"));
    let any = ["c *:* m".to_owned(), "b *:* m".to_owned(), format!("c {PSEUDO_TERMINALS}:* rwm")];
    common.chain(any).try_for_each(|rule| fs::write(dir.join("devices.allow"), rule))
}

/// One instruction of the kernel's: operation, registers, jump and constant in eight bytes.
fn instruction(operation: u8, target: u8, source: u8, jump: i16, constant: i32) -> u64 {
    u64::from(operation)
        | u64::from(target | source << 4) << 8
        | u64::from(jump.cast_unsigned()) << 16
        | u64::from(constant.cast_unsigned()) << 32
}

/// Returns 1 to allow, 0 to refuse. Registers: 1 the context, 2 the kind, 3 the access, 4 the
/// major and 5 the minor number.
fn filter() -> Vec<u64> {
    let load = |register, offset| instruction(0x61, register, 1, offset, 0);
    let unless_equal = |register, value, skip| instruction(0x55, register, 0, skip, value);
    let answer = |value| [instruction(0xb7, 0, 0, 0, value), instruction(0x95, 0, 0, 0, 0)];

    let mut program = vec![load(2, 0), load(4, 4), load(5, 8)];
    program.push(instruction(0xbf, 3, 2, 0, 0)); // access = kind and access
    program.push(instruction(0x77, 3, 0, 0, 16)); // access >>= 16
    program.push(instruction(0x57, 2, 0, 0, 0xffff)); // kind &= 0xffff
    program.push(unless_equal(3, MAKE, 2));
    program.extend(answer(1));
    program.push(instruction(0x15, 2, 0, 2, CHARACTER));
    program.extend(answer(0));
    program.push(unless_equal(4, PSEUDO_TERMINALS, 2));
    program.extend(answer(1));
    for (_, major, minor) in COMMON {
        program.push(unless_equal(4, major, 3));
        program.push(unless_equal(5, minor, 2));
        program.extend(answer(1));
    }
    program.extend(answer(0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(access: i64, kind: i64, major: i64, minor: i64) -> i64 {
        let context = [access << 16 | kind, major, minor];
        let (program, mut registers, mut next) = (filter(), [0_i64; 6], 0_usize);
        loop {
            let word = program[next];
            let [operation, registers_used, ..] = word.to_le_bytes();
            let (target, source) =
                (usize::from(registers_used & 15), usize::from(registers_used >> 4));
            let jump = usize::from((word >> 16) as u16);
            let constant = (word >> 32) as i64;
            next += 1;
            match operation {
                0x61 => registers[target] = context[jump / 4],
                0xbf => registers[target] = registers[source],
                0x77 => registers[target] >>= constant,
                0x57 => registers[target] &= constant,
                0xb7 => registers[target] = constant,
                0x55 if registers[target] != constant => next += jump,
                0x15 if registers[target] == constant => next += jump,
                0x55 | 0x15 => {}
                0x95 => return registers[0],
                other => panic!("operation {other:#x}"),
            }
        }
    }

    #[test]
    fn common_devices_may_be_used_and_disks_only_be_made() {
        let (block, character, make, read, write) = (1, 2, 1, 2, 4);
        assert_eq!(run(read | write, character, 1, 3), 1);
        assert_eq!(run(read, character, 5, 2), 1);
        assert_eq!(run(write, character, 136, 77), 1);
        assert_eq!(run(read, character, 1, 1), 0, "/dev/mem");
        assert_eq!(run(read, character, 5, 3), 0);
        assert_eq!(run(read, block, 254, 0), 0);
        assert_eq!(run(write | make, block, 254, 0), 0);
        assert_eq!(run(make, block, 254, 0), 1);
        assert_eq!(run(read, block, 1, 3), 0, "a RAM disk with null's numbers");
    }
}
