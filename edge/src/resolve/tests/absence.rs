//! What an absence says, and to whom.

use super::*;

#[tokio::test]
async fn who_comes_while_the_question_is_under_way_does_not_take_its_absence() {
    let origin = Arc::new(SlowOrigin::default());
    let resolver = resolver(&origin);
    let key = Key::new(domain(), "abc");
    let look_up = || {
        let (resolver, key) = (resolver.clone(), key.clone());
        async move { resolver.look_up(&key, domain(), Code::parse("abc").unwrap()).await }
    };
    let asked = async |times| {
        while origin.asked.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(look_up());
    asked(1).await;
    // Made elsewhere, and acknowledged, after the origin looked and before its answer is here.
    origin.routes.lock().unwrap().insert("abc".to_owned(), record(1));
    tasks.spawn(look_up());
    tokio::task::yield_now().await;
    origin.go.notify_one();
    let first = tasks.join_next().await.unwrap().unwrap();
    assert!(first.unwrap().is_none(), "it came before");
    asked(2).await;
    origin.go.notify_one();
    let second = tasks.join_next().await.unwrap().unwrap();
    assert!(second.unwrap().is_some(), "a link that was made before it came");
}

#[tokio::test]
async fn absences_are_not_kept_where_they_may_not_be() {
    let origin = Arc::new(SlowOrigin::default());
    let config = ResolveConfig { negative_ms: 0, ..ResolveConfig::default() };
    let resolver =
        Resolver::new(&config, Arc::clone(&origin) as Arc<dyn Origin>, Handle::current());
    let key = Key::new(domain(), "abc");
    origin.go.notify_one();
    let answer = resolver.look_up(&key, domain(), Code::parse("abc").unwrap()).await;
    assert!(answer.unwrap().is_none());
    assert!(matches!(resolver.known(&key), Known::Unknown));
}
