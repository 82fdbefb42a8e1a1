//! `carom export`: all links, or all clicks, page by page to a file or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use carom_control::operator::{ClicksText, LinksPage};
use clap::{Args, ValueEnum};

use crate::csv::{COLUMNS, cells, push_line};
use crate::error::CommandError;
use crate::import::progress::Progress;
use crate::operator::with_operator;
use crate::settings::Settings;
use carom_control::program::{Operator, ProgramError};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Also links that were deleted
    #[arg(long, conflicts_with = "clicks")]
    deleted: bool,
    /// Clicks instead of links
    #[arg(long)]
    clicks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// Where an export goes. A file appears under its name when it is whole.
struct Out {
    to: BufWriter<Box<dyn Write>>,
    file: Option<(File, PathBuf, PathBuf)>,
}

impl Out {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else {
            return Ok(Self { to: BufWriter::new(Box::new(io::stdout())), file: None });
        };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What links lead to, and who clicked them when, is for the owner alone.
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let to = BufWriter::new(Box::new(file.try_clone()?) as Box<dyn Write>);
        Ok(Self { to, file: Some((file, part, path.to_owned())) })
    }

    fn finish(mut self) -> io::Result<()> {
        self.to.flush()?;
        if let Some((file, part, path)) = self.file {
            file.sync_all()?;
            std::fs::rename(part, path)?;
        }
        Ok(())
    }
}

impl ExportArgs {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), CommandError> {
        let mut out = Out::open(self.out.as_deref()).map_err(ProgramError::Output)?;
        let mut progress = Progress::new();
        let written = with_operator(settings, false, async |operator| {
            if self.clicks {
                self.clicks(operator, &mut out.to, &mut progress).await
            } else {
                self.links(operator, &mut out.to, &mut progress).await
            }
        });
        progress.end();
        let written = written.and_then(|()| Ok(out.finish().map_err(ProgramError::Output)?));
        match written {
            // `carom export | head -1` is not an error.
            Err(CommandError::Program(ProgramError::Output(error)))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                Ok(())
            }
            written => written,
        }
    }

    async fn links(
        &self,
        operator: &Operator,
        out: &mut impl Write,
        progress: &mut Progress,
    ) -> Result<(), CommandError> {
        let mut text = String::new();
        if self.format == Format::Csv {
            push_line(&mut text, COLUMNS);
        }
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let path = format!("/v1/export/links?deleted={}{after}", self.deleted);
            let page: LinksPage = operator.get(&path).await?;
            for link in &page.data {
                match self.format {
                    Format::Csv => push_line(&mut text, cells(link).iter().map(String::as_str)),
                    Format::Jsonl => {
                        let line = serde_json::to_string(link);
                        text.push_str(&line.map_err(|error| ProgramError::Output(error.into()))?);
                        text.push('\n');
                    }
                }
            }
            out.write_all(text.as_bytes()).map_err(ProgramError::Output)?;
            text.clear();
            count += page.data.len() as u64;
            progress.show(count, "links", None, "");
            let Some(next) = page.next else { return Ok(()) };
            after = format!("&after={next}");
        }
    }

    async fn clicks(
        &self,
        operator: &Operator,
        out: &mut impl Write,
        progress: &mut Progress,
    ) -> Result<(), CommandError> {
        let format = match self.format {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        };
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let path = format!("/v1/export/clicks?format={format}{after}");
            let page: ClicksText = operator.get(&path).await?;
            out.write_all(page.text.as_bytes()).map_err(ProgramError::Output)?;
            count += page.clicks;
            progress.show(count, "clicks", None, "");
            let Some(next) = page.next else { return Ok(()) };
            after = format!("&after={next}");
        }
    }
}
