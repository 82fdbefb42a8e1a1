//! What the program says of itself.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::{Frame, Part, open};
use crate::app::App;
use crate::health::{Facts, Level, SelfKnowledge, Statement};
use crate::http::extract::{NoParams, Params};
use crate::page::message::{filters, message};
use crate::page::respond::{Page, PageError};
use crate::page::shell::{Shell, Viewer};

/// Statements about one part of the program.
struct Chapter {
    title: &'static str,
    statements: Vec<Statement>,
}

#[derive(Template)]
#[template(path = "settings/about.html")]
struct About {
    shell: Shell,
    frame: Frame,
    version: &'static str,
    worst: Level,
    verdict: &'static str,
    chapters: Vec<Chapter>,
}

pub(super) async fn show(
    State(app): State<App>,
    viewer: Viewer,
    knowledge: Option<Extension<SelfKnowledge>>,
    _: Params<NoParams>,
) -> Result<Response, PageError> {
    let (shell, frame) = open(&app, &viewer, Part::About)?;
    let facts = Facts::of(&app).await?;
    let edges = match knowledge {
        Some(Extension(SelfKnowledge(knows))) => knows.statements(),
        None => vec![elsewhere()],
    };
    let chapters = vec![
        Chapter { title: message("Stores and control plane"), statements: facts.statements() },
        Chapter { title: message("Edge: redirects and clicks"), statements: edges },
    ];
    let levels = chapters.iter().flat_map(|it| &it.statements).map(|it| it.level);
    let worst = levels.max().unwrap_or(Level::Ok);
    let verdict = match worst {
        Level::Ok => message("All is well."),
        Level::Notice => message("All is well; there is something worth knowing."),
        Level::Warning => message("It works; somebody should look at something."),
        Level::Error => message("Something is wrong."),
    };
    let version = env!("CARGO_PKG_VERSION");
    let page = About { shell, frame, version, worst, verdict, chapters };
    Ok(Page::of(&page).respond(&viewer.headers))
}

/// A statement's level in a word. The statements themselves are English, as the log is.
const fn word(level: &Level) -> &'static str {
    match level {
        Level::Ok => message("fine"),
        Level::Notice => message("worth knowing"),
        Level::Warning => message("look at it"),
        Level::Error => message("wrong"),
    }
}

fn elsewhere() -> Statement {
    Statement::new(
        Level::Notice,
        "Edges are programs of their own here",
        "each says on its admin listener how old its feed is, what waits in its outbox and what it lost",
        "look at their /readyz and /metrics",
    )
}
