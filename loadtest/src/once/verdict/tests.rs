use super::*;

fn created(id: &str, replayed: bool) -> Created {
    let promise = Promise {
        id: id.to_owned(),
        location: format!("/api/v1/links/{id}"),
        etag: "\"1\"".to_owned(),
        body: format!("{{\"id\":\"{id}\"}}"),
    };
    Created { replayed, promise }
}

fn now(id: &str) -> Answer {
    Answer::Created(created(id, false))
}

fn again(id: &str) -> Answer {
    Answer::Created(created(id, true))
}

fn cut() -> Answer {
    Answer::Cut("gone".to_owned())
}

fn wrong() -> Answer {
    Answer::Wrong("status 500".to_owned())
}

fn link(id: &str, url: &str) -> Link {
    Link { id: id.to_owned(), code: format!("code-{id}"), url: url.to_owned() }
}

/// Two rounds that pass: a calm one with link `a`, and one whose kill came between answers, with `b`.
struct Run {
    calm: Round,
    killed: Round,
    links: Vec<Link>,
}

impl Run {
    fn passing() -> Self {
        Self {
            calm: Round {
                target: "https://a.test/".to_owned(),
                kill_after: None,
                answers: vec![Answer::UnderWay, now("a"), again("a")],
                settled: Ok(created("a", true)),
            },
            killed: Round {
                target: "https://b.test/".to_owned(),
                kill_after: Some(Duration::from_millis(3)),
                answers: vec![now("b"), again("b"), Answer::UnderWay, Answer::Busy, cut()],
                settled: Ok(created("b", true)),
            },
            links: vec![link("b", "https://b.test/"), link("a", "https://a.test/")],
        }
    }

    fn judge(self) -> Verdict {
        Verdict::new(&[self.calm, self.killed], &self.links)
    }
}

#[test]
fn a_run_that_passes() {
    let verdict = Run::passing().judge();
    assert_eq!(verdict.problems, Vec::<String>::new());
    let calm = Answers { created: 1, replayed: 1, under_way: 1, ..Answers::default() };
    assert_eq!(verdict.calm, calm);
    let wrong = 0;
    assert_eq!(verdict.killed, Answers { busy: 1, wrong, cut: 1, ..calm });
    assert_eq!((verdict.none_answered, verdict.some_answered), (0, 1));
    assert_eq!((verdict.links.found, verdict.between_answers), (2, 1));
}

#[test]
fn what_a_kill_met_is_known_from_the_answers() {
    let fresh = || Ok(created("b", false));
    let replayed = || Ok(created("b", true));
    let cases = [
        (vec![cut(), cut()], fresh(), Some(Met::BeforeCommit)),
        (vec![cut(), Answer::UnderWay], fresh(), Some(Met::BeforeCommit)),
        (vec![cut(), Answer::UnderWay], replayed(), Some(Met::BeforeAnswer)),
        (vec![cut(), now("b")], replayed(), Some(Met::BetweenAnswers)),
        (vec![cut(), again("b")], replayed(), Some(Met::BetweenAnswers)),
        (vec![Answer::UnderWay, now("b")], replayed(), Some(Met::AfterAnswers)),
        (vec![cut(), cut()], Err("status 500".to_owned()), None),
    ];
    for (answers, settled, met) in cases {
        let mut round = Round { answers, settled, ..Run::passing().killed };
        assert_eq!(round.met(), met, "{round:?}");
        round.kill_after = None;
        assert_eq!(round.met(), None);
    }
}

type Spoil = fn(&mut Run);

#[test]
fn each_fault_alone_decides() {
    let cases: [(&str, Spoil); 17] = [
        ("no link in the end", |run| run.killed.settled = Err("status 409".to_owned())),
        ("answers differ", |run| {
            run.killed.settled = Ok(created("b", true));
            let mut other = created("b", true);
            other.promise.etag = "\"2\"".to_owned();
            run.killed.answers.push(Answer::Created(other));
        }),
        ("answers differ", |run| {
            let mut other = created("b", true);
            other.promise.body.push(' ');
            run.killed.answers.push(Answer::Created(other));
        }),
        ("told twice", |run| run.killed.answers.push(now("b"))),
        ("told twice", |run| run.killed.settled = Ok(created("b", false))),
        ("told twice", |run| {
            run.killed.answers[0] = cut();
            run.killed.settled = Ok(created("b", false));
        }),
        ("told twice", |run| run.calm.settled = Ok(created("a", false))),
        ("not done just once", |run| run.calm.answers[1] = again("a")),
        ("not done just once", |run| run.calm.answers.push(cut())),
        ("not done just once", |run| run.calm.answers.push(wrong())),
        ("not done just once", |run| run.calm.answers.push(Answer::Busy)),
        ("neither 201", |run| run.killed.answers.push(wrong())),
        ("1 answered links are missing", |run| run.links.truncate(1)),
        ("more than one link", |run| run.links.push(link("c", "https://b.test/"))),
        ("of no round", |run| run.links.push(link("c", "https://c.test/"))),
        ("nothing is proved", |run| run.killed.answers.retain(|answer| *answer != cut())),
        ("nothing is proved", |run| run.killed.answers.clear()),
    ];
    for (text, spoil) in cases {
        let mut run = Run::passing();
        spoil(&mut run);
        let problems = run.judge().problems;
        // A round that does not settle has met nothing that is known.
        let mut rest = problems.iter().filter(|problem| !problem.contains("nothing is proved"));
        let one = if text.contains("proved") { problems.first() } else { rest.next() };
        assert!(one.is_some_and(|one| one.contains(text)), "{text}: {problems:?}");
        assert_eq!(rest.next(), None, "{text}");
    }
}

#[test]
fn an_answered_link_that_was_replaced_is_missing() {
    let mut run = Run::passing();
    run.links[0].id = "c".to_owned();
    let verdict = run.judge();
    assert_eq!((verdict.links.missing, verdict.links.doubled, verdict.links.foreign), (1, 0, 0));
    assert_eq!(verdict.problems.len(), 1);
}

#[test]
fn two_links_that_were_both_answered_are_doubled() {
    let mut run = Run::passing();
    run.killed.answers.push(again("c"));
    run.links.push(link("c", "https://b.test/"));
    let verdict = run.judge();
    assert_eq!((verdict.links.missing, verdict.links.doubled, verdict.links.foreign), (0, 1, 0));
    assert!(verdict.problems.iter().any(|problem| problem.contains("differ")));
}
