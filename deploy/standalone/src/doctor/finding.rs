//! What `carom doctor` finds: one statement each, what it means, and what to do.

use serde::Serialize;

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Ok,
    /// Worth knowing; nothing has to be done.
    Notice,
    /// Something will go wrong, or is worse than it could be.
    Warning,
    /// Something is wrong.
    Error,
}

/// What a finding is about, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Area {
    Process,
    Folder,
    Stores,
    Spool,
    System,
    Settings,
}

impl Area {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Process => "Process",
            Self::Folder => "Data folder",
            Self::Stores => "Stores",
            Self::Spool => "Click spool",
            Self::System => "System",
            Self::Settings => "Settings",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) area: Area,
    /// A short name that stays the same, for programs.
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    pub(crate) finding: String,
    /// Empty where all is well.
    pub(crate) meaning: String,
    pub(crate) action: String,
}

/// Findings of one area.
#[derive(Debug)]
pub(crate) struct Findings {
    area: Area,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) const fn of(area: Area) -> Self {
        Self { area, all: Vec::new() }
    }

    pub(super) fn into_inner(self) -> Vec<Finding> {
        self.all
    }

    pub(super) fn ok(&mut self, check: &'static str, finding: impl Into<String>) {
        self.add(Level::Ok, check, finding, "", "");
    }

    pub(super) fn notice(
        &mut self,
        check: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.add(Level::Notice, check, finding, meaning, action);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.add(Level::Warning, check, finding, meaning, action);
    }

    pub(super) fn error(
        &mut self,
        check: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.add(Level::Error, check, finding, meaning, action);
    }

    pub(super) fn add(
        &mut self,
        level: Level,
        check: &'static str,
        finding: impl Into<String>,
        meaning: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.all.push(Finding {
            area: self.area,
            check,
            level,
            finding: finding.into(),
            meaning: meaning.into(),
            action: action.into(),
        });
    }
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The worst of them.
    pub(crate) verdict: Level,
    /// The version of this program.
    pub(crate) version: &'static str,
    pub(crate) data_dir: String,
    pub(crate) is_serving: bool,
    pub(crate) is_deep: bool,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    pub(crate) notices: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn count(findings: &[Finding], level: Level) -> usize {
        findings.iter().filter(|finding| finding.level == level).count()
    }
}
