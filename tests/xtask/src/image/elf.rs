//! Finds the libraries a program or library needs, so that an image contains only those.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

/// The names of the libraries, and a program's interpreter path. Empty for files that are not ELF.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) libraries: Vec<String>,
    pub(super) interpreter: Option<String>,
}

/// Reads them from a file.
pub(super) fn needs(file: &Path) -> Result<Needs> {
    let reading = || format!("cannot read {}", file.display());
    let data = fs::read(file).with_context(reading)?;
    match FileKind::parse(&*data) {
        Ok(FileKind::Elf64) => parse(&data).with_context(reading),
        _ => Ok(Needs::default()),
    }
}

fn parse(data: &[u8]) -> Result<Needs> {
    let elf = ElfFile64::<Endianness>::parse(data)?;
    let endian = elf.endian();
    let header: &FileHeader64<Endianness> = elf.elf_header();
    let sections = header.sections(endian, data)?;
    let mut needs = Needs::default();
    if let Some((entries, strings)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
            let name = entry.string(endian, strings)?;
            needs.libraries.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            needs.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_libc_and_a_loader() {
        let needs = needs(&std::env::current_exe().unwrap()).unwrap();
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"), "{needs:?}");
        assert!(needs.interpreter.as_deref().is_some_and(|path| path.contains("ld-linux")), "{needs:?}");
    }

    #[test]
    fn text_needs_nothing() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/image/elf.rs");
        assert_eq!(needs(&source).unwrap(), Needs::default());
    }
}
