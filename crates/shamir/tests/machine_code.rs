//! CVE-2023-25000: time and caches tell nothing of what is multiplied. Not measured but read: what the compiler makes of
//! `multiply`, as it is released, has no jump and no load from memory at all, so it takes the same way for all operands.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests say what they expect")]

use std::{fs, path::Path, process::Command};

/// Instructions of a function that go another way, or look somewhere else, by what is in the registers.
fn telling(source: &str, name: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("probe.rs"), folder.path().join("probe.s"));
    fs::write(&file, source).unwrap();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let mut command = Command::new(rustc);
    command.args(["--edition=2024", "--crate-type=lib", "-Copt-level=3", "--emit=asm", "-o"]).arg(&out).arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&out).unwrap();
    let mut lines = text.lines().skip_while(|line| line.trim() != format!("{name}:")).skip(1);
    let body: Vec<String> = lines
        .by_ref()
        .map(str::trim)
        .take_while(|line| !line.starts_with(".size"))
        .filter(|line| !line.starts_with('.') && !line.ends_with(':') && !line.is_empty())
        .map(|line| line.replace('\t', " "))
        .collect();
    assert!(body.iter().any(|line| line.starts_with("ret")), "{name} is not in {text}");
    body.into_iter().filter(|line| tells(line)).collect()
}

/// On x86-64 and on AArch64.
fn tells(instruction: &str) -> bool {
    let (word, operands) = instruction.split_once(' ').unwrap_or((instruction, ""));
    let jumps = word.starts_with('j') || word.starts_with("call") || word.starts_with("b.");
    let branches = matches!(word, "b" | "bl" | "br" | "blr" | "cbz" | "cbnz" | "tbz" | "tbnz");
    let looks = (operands.contains('(') && !word.starts_with("lea")) || word.starts_with("ld");
    jumps || branches || looks
}

const BRANCHES: &str = "
    let (mut a, mut b, mut product) = (a, b, 0u8);
    while b != 0 {
        if b & 1 == 1 { product ^= a; }
        a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
        b >>= 1;
    }
    product";

const TABLE: &str = "
    static LOG: [u8; 256] = {
        let (mut table, mut at) = ([0u8; 256], 0);
        while at < 256 { table[at] = (at as u8).wrapping_mul(29) ^ 3; at += 1; }
        table
    };
    LOG[a as usize] ^ LOG[b as usize]";

#[test]
fn cve_2023_25000_a_product_takes_the_same_way_for_all_operands() {
    let field = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/field.rs");
    let probe = |body: &str| {
        format!(
            "#[allow(dead_code)] #[path = {field:?}] mod field;\n\
             #[unsafe(no_mangle)] pub fn probe(a: u8, b: u8) -> u8 {{ {body} }}"
        )
    };
    assert_eq!(telling(&probe("field::multiply(a, b)"), "probe"), [""; 0]);
    // What would be seen.
    assert!(!telling(&probe(BRANCHES), "probe").is_empty());
    assert!(!telling(&probe(TABLE), "probe").is_empty());
}
