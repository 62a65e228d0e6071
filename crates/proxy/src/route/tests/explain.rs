//! What is told of a request's way.

use mainstay_config::plan::edge::*;

use super::super::explain::Stage;
use super::super::rig::*;
use super::super::{Explanation, Question, explain};

fn site() -> Edge {
    let mut api = Route { hosts: vec![Host::Exact("iam.test".into())], ..route("api", prefix("/v1/")) };
    api.action =
        Action::Forward(Box::new(Forward { forwarded: true, uri: Uri::Prefix("/".into()), ..forward() }));
    let mut old = route("old", prefix("/old/"));
    old.steps = vec![rewrite("^/old/(.*)$", "/v1/{1}", Then::Again)];
    let mut post = Route { methods: vec!["POST".into()], ..route("post", prefix("/v1/")) };
    post.hosts = vec![Host::Exact("iam.test".into())];
    let mut edge = edge(vec![
        route("rest", prefix("/")),
        api,
        post,
        old,
        route("php", regex(r"\.php$")),
        Route { hosts: vec![Host::Exact("other.test".into())], ..route("other", prefix("/")) },
    ]);
    edge.listeners[0].places = vec![Place::Inet("0.0.0.0:8080".parse().unwrap())];
    edge
}

fn ask(question: &Question) -> Explanation {
    explain(&snapshot(site()), question)
}

fn why<'a>(explanation: &'a Explanation, choice: usize, route: &str) -> &'a str {
    let choices: Vec<_> = explanation.ways[0]
        .stages
        .iter()
        .filter_map(|stage| match stage {
            Stage::Choice { candidates, .. } => Some(candidates),
            Stage::Note(_) => None,
        })
        .collect();
    &choices[choice].iter().find(|candidate| candidate.route == route).unwrap().why
}

#[test]
fn it_says_which_route_takes_a_url_and_why_not_the_others() {
    let told = ask(&Question { url: "http://iam.test:8080/v1/users?x=1".into(), ..Question::default() });
    assert_eq!(told.problem, None);
    let way = &told.ways[0];
    assert_eq!(
        (way.listener.as_str(), way.route.as_deref(), way.pool.as_deref()),
        ("web", Some("api"), Some("api"))
    );
    assert_eq!(way.request.as_deref(), Some("GET /users?x=1"));
    assert!(way.fields.contains(&("X-Real-IP".into(), "127.0.0.1".into())));
    assert_eq!(why(&told, 0, "api"), "takes it: iam.test, the longest prefix is /v1/");
    assert_eq!(why(&told, 0, "rest"), "the host of \"api\" fits better");
    assert_eq!(why(&told, 0, "post"), "asks for method POST");
    assert_eq!(why(&told, 0, "other"), "is for other.test, not for \"iam.test\"");
    assert_eq!(why(&told, 0, "old"), "/v1/users does not begin with /old/");
    assert_eq!(why(&told, 0, "php"), "/v1/users is not matched by `\\.php$`");
}

#[test]
fn rewrites_and_second_choices_are_told() {
    let told = ask(&Question { url: "http://iam.test/old/a".into(), ..Question::default() });
    let notes: Vec<&str> = told.ways[0]
        .stages
        .iter()
        .filter_map(|stage| match stage {
            Stage::Note(note) => Some(note.as_str()),
            Stage::Choice { .. } => None,
        })
        .collect();
    assert_eq!(notes, ["steps rewrite /old/a to /v1/a", "a route is chosen anew"]);
    assert_eq!(told.ways[0].outcome, "pool \"api\" gets GET /a");
    assert_eq!(why(&told, 1, "api"), "takes it: iam.test, the longest prefix is /v1/");
}

#[test]
fn expressions_and_prefixes_of_equal_host_are_compared() {
    let told = ask(&Question { url: "/x.php".into(), ..Question::default() });
    assert_eq!(why(&told, 0, "rest"), "the expression of \"php\" comes before prefixes");
    assert_eq!(told.ways[0].outcome, "status 200 with 3 bytes");
}

#[test]
fn what_cannot_be_answered_is_said() {
    let nowhere = "no listener fits the scheme and port of the URL; there are: web (http at 0.0.0.0:8080)";
    for (url, problem) in [
        ("ftp://a/", "ftp is no scheme of ours: http or https"),
        ("http://a b/", "the URL has a blank or a control character in it"),
        ("https://a/", nowhere),
        ("http://a:81/", nowhere),
        ("http://a:x/", "`x` is no port"),
    ] {
        assert_eq!(
            ask(&Question { url: url.into(), ..Question::default() }).problem.as_deref(),
            Some(problem)
        );
    }
    let question = Question { url: "/".into(), listener: Some("none".into()), ..Question::default() };
    assert_eq!(ask(&question).problem.as_deref(), Some("there is no listener \"none\""));
    let question =
        Question { url: "/".into(), headers: vec![("a\r\nb".into(), String::new())], ..Question::default() };
    assert!(ask(&question).problem.unwrap().contains("is no header field"));
}

#[test]
fn a_question_and_its_explanation_go_through_json() {
    let question: Question = serde_json::from_str(r#"{"url":"http://iam.test/"}"#).unwrap();
    let told = ask(&question);
    let text = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), told);
}
