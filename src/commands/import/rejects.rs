//! The list of lines that were not stored, each with its number and what is wrong with it.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

/// Where rejects are listed.
#[derive(Debug)]
pub struct Rejects {
    /// `None`: on standard error.
    file: Option<BufWriter<File>>,
    /// The first fault of writing, until it is told.
    fault: Option<io::Error>,
}

impl Rejects {
    /// Lists in the file at `path`, or on standard error.
    ///
    /// Of a list of an earlier run that went as far as `lines`, what is beyond is dropped: those
    /// lines are read again.
    pub fn open(path: Option<&Path>, lines: Option<u64>) -> io::Result<Rejects> {
        let Some(path) = path else {
            return Ok(Rejects {
                file: None,
                fault: None,
            });
        };
        let kept = match lines {
            None => String::new(),
            Some(lines) => match fs::read_to_string(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                other => up_to(&other?, lines),
            },
        };
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(kept.as_bytes())?;
        Ok(Rejects {
            file: Some(file),
            fault: None,
        })
    }

    /// Lists a line.
    pub fn add(&mut self, line: u64, code: &str, message: &str) {
        match &mut self.file {
            Some(file) => {
                if let Err(fault) = writeln!(file, "line {line}: {code}: {message}") {
                    self.fault.get_or_insert(fault);
                }
            }
            None => eprintln!("line {line}: {code}: {message}"),
        }
    }

    /// Hands over what was listed to the file.
    pub fn flush(&mut self) -> io::Result<()> {
        match (self.fault.take(), &mut self.file) {
            (Some(fault), _) => Err(fault),
            (None, Some(file)) => file.flush(),
            (None, None) => Ok(()),
        }
    }
}

/// The entries of `list` for the first `lines` lines.
fn up_to(list: &str, lines: u64) -> String {
    let is_kept = |entry: &&str| {
        let number = entry
            .strip_prefix("line ")
            .and_then(|rest| rest.split(':').next());
        let number: Option<u64> = number.and_then(|number| number.parse().ok());
        number.is_some_and(|number| number <= lines)
    };
    list.split_inclusive('\n').filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_up_as_far_as_the_import_got() {
        let list = "line 2: bad_json: x\nline 30: bad_id: y\nline 4: bad_id: z\n";
        assert_eq!(up_to(list, 4), "line 2: bad_json: x\nline 4: bad_id: z\n");
        assert_eq!(up_to(list, 1), "");
    }
}
