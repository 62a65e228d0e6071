//! What is done before a route acts; nginx's rewrite module.

use mainstay_core::name::RouteId;
use serde::{Deserialize, Serialize};

use super::action::Answer;
use super::template::Template;

/// What is done before a route acts; nginx's rewrite module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Gives a variable a value.
    Set {
        /// The variable.
        name: String,
        /// Its value.
        value: Template,
    },
    /// Changes the path where the expression matches it.
    Rewrite {
        /// Expression over the path.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// The new path, with a query after `?`; the old query is appended unless it ends with `?`.
        to: Template,
        /// What then.
        then: Then,
    },
    /// Answers at once.
    Answer(Answer),
    /// Further steps under a condition.
    If {
        /// The condition.
        when: Condition,
        /// What is done.
        steps: Vec<Step>,
        /// Afterwards this route goes on in place of the present one, without steps of its own being run.
        route: Option<RouteId>,
    },
    /// Ends the steps.
    Break,
    /// Steps of the host and not of the route (an nginx server block's): before the route's own, skipped when a rewrite chooses a route
    /// anew, run again after an internal redirect. A break among them ends them alone.
    Once(Vec<Step>),
}

/// What follows a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The next step; a route is chosen anew after the last one, since the path has changed.
    Continue,
    /// A route is chosen anew, ten times at most.
    Again,
    /// This route acts on the new path.
    Break,
    /// A redirect with this status (301, 302).
    Redirect(u16),
}

/// A condition of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Neither empty nor `0`.
    True(Template),
    /// Equal.
    Equal {
        /// One side.
        value: Template,
        /// The other.
        to: Template,
        /// Turned round.
        not: bool,
    },
    /// Matched by an expression.
    Match {
        /// What is looked at.
        value: Template,
        /// The expression; its groups become `{1}` ...
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// Turned round.
        not: bool,
    },
    /// Something is in the file system.
    File {
        /// Where.
        path: Template,
        /// What.
        kind: FileKind,
        /// Turned round.
        not: bool,
    },
}

/// What a path in the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything.
    Any,
    /// Something executable.
    Executable,
}
