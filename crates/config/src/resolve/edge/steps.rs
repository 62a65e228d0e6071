//! Steps before a route acts: variables, rewrites, conditions, answers.

use mainstay_core::name::RouteId;

use super::names::{Definer, Kind};
use super::{flag, span_of};
use crate::plan::edge::{Condition, FileKind, Step, Then};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::At;
use crate::values::{FileWord, ThenWord};

type List = At<Vec<At<raw::Step>>>;

impl Resolver<'_> {
    pub(super) fn steps(&mut self, list: Option<&List>, who: &str) -> Vec<Step> {
        let entries = list.into_iter().flat_map(|list| &list.value);
        entries.filter_map(|step| self.step(&step.value, who)).collect()
    }

    fn step(&mut self, raw: &raw::Step, who: &str) -> Option<Step> {
        let keys = [
            ("set", span_of(&raw.set)),
            ("rewrite", span_of(&raw.rewrite)),
            ("answer", span_of(&raw.answer)),
            ("redirect", span_of(&raw.redirect)),
            ("when", span_of(&raw.when)),
            ("once", span_of(&raw.once)),
            ("break", span_of(&raw.r#break)),
        ];
        let kind = self.exactly_one(&keys, &raw.head, who)?;
        for (span, key, belongs_to) in [
            (span_of(&raw.value), "value", "set"),
            (span_of(&raw.ignore_case), "ignore_case", "rewrite"),
            (span_of(&raw.to), "to", "rewrite"),
            (span_of(&raw.then), "then", "rewrite"),
            (span_of(&raw.steps), "steps", "when"),
            (span_of(&raw.route), "route", "when"),
        ] {
            if belongs_to != kind {
                self.foreign(span, key, &format!("`{belongs_to}`"), who);
            }
        }
        match (raw, kind) {
            (raw::Step { set: Some(name), .. }, "set") => {
                self.define(&name.value, Definer::Request, name.span, who);
                let value = self.required(&raw.value, &raw.head, who, "value")?;
                Some(Step::Set { name: name.value.clone(), value: self.template(&value, who) })
            }
            (raw::Step { rewrite: Some(pattern), .. }, "rewrite") => self.rewrite(raw, pattern, who),
            (raw::Step { answer: Some(answer), .. }, "answer") => {
                Some(Step::Answer(self.answer(answer, who)))
            }
            (raw::Step { redirect: Some(redirect), .. }, "redirect") => {
                Some(Step::Answer(self.redirect(&redirect.value, who)))
            }
            (raw::Step { when: Some(when), .. }, "when") => self.branch(raw, when, who),
            (raw::Step { once: Some(once), .. }, "once") => Some(Step::Once(self.steps(Some(once), who))),
            (raw::Step { r#break: Some(At { value, span }), .. }, "break") => {
                if !value {
                    self.error(
                        *span,
                        format!("{who}: break = false does nothing"),
                        "write break = true, or take it out",
                    );
                }
                Some(Step::Break)
            }
            _ => None,
        }
    }

    fn rewrite(&mut self, raw: &raw::Step, pattern: &At<String>, who: &str) -> Option<Step> {
        let ignore_case = flag(&raw.ignore_case, false);
        let pattern = self.pattern(pattern, ignore_case, &format!("{who}: rewrite"));
        let to = self.required(&raw.to, &raw.head, who, "to")?;
        let then = match raw.then.as_ref().map(|then| then.value) {
            None | Some(ThenWord::Continue) => Then::Continue,
            Some(ThenWord::Again) => Then::Again,
            Some(ThenWord::Break) => Then::Break,
            Some(ThenWord::Redirect) => Then::Redirect(302),
            Some(ThenWord::Permanent) => Then::Redirect(301),
        };
        let to = match then {
            Then::Redirect(_) => self.template(&to, who),
            Then::Continue | Then::Again | Then::Break => self.rewritten(&to, who),
        };
        Some(Step::Rewrite { pattern, ignore_case, to, then })
    }

    fn branch(&mut self, raw: &raw::Step, when: &At<raw::Condition>, who: &str) -> Option<Step> {
        let when = self.condition(&when.value, &format!("{who}: when"));
        if raw.steps.is_none() && raw.route.is_none() {
            self.needs(false, "steps", "a `when` without `route`", &raw.head, who);
        }
        let steps = self.steps(raw.steps.as_ref(), who);
        let route = raw.route.as_ref().and_then(|route| self.named(Kind::Route, route, who)).map(RouteId);
        Some(Step::If { when: when?, steps, route })
    }

    fn condition(&mut self, raw: &raw::Condition, who: &str) -> Option<Condition> {
        let keys = [("value", span_of(&raw.value)), ("path", span_of(&raw.path))];
        let kind = self.exactly_one(&keys, &raw.head, who)?;
        let not = flag(&raw.not, false);
        if raw.regex.is_none() {
            self.foreign(span_of(&raw.ignore_case), "ignore_case", "`regex`", who);
        }
        if kind == "path" {
            for (span, key) in [(span_of(&raw.is), "is"), (span_of(&raw.regex), "regex")] {
                self.foreign(span, key, "`value`", who);
            }
            let path = raw.path.as_ref().map(|path| self.template(path, who))?;
            let exists = self.required(&raw.exists, &raw.head, who, "exists")?;
            let kind = match exists.value {
                FileWord::File => FileKind::File,
                FileWord::Directory => FileKind::Directory,
                FileWord::Any => FileKind::Any,
                FileWord::Executable => FileKind::Executable,
            };
            return Some(Condition::File { path, kind, not });
        }
        self.foreign(span_of(&raw.exists), "exists", "`path`", who);
        self.not_both(("is", span_of(&raw.is)), ("regex", span_of(&raw.regex)), who);
        let value = raw.value.as_ref().map(|value| self.template(value, who))?;
        match (&raw.is, &raw.regex) {
            (Some(to), _) => Some(Condition::Equal { value, to: self.template(to, who), not }),
            (None, Some(regex)) => {
                let ignore_case = flag(&raw.ignore_case, false);
                Some(Condition::Match {
                    value,
                    pattern: self.pattern(regex, ignore_case, who),
                    ignore_case,
                    not,
                })
            }
            (None, None) if not => {
                Some(Condition::Match { value, pattern: "^0?$".to_owned(), ignore_case: false, not: false })
            }
            (None, None) => Some(Condition::True(value)),
        }
    }
}
