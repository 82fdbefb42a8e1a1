use super::*;

#[tokio::test]
async fn readiness_ends_with_draining_and_liveness_does_not() {
    let test = Test::new().await;
    assert_eq!(test.admin("/readyz").await.status, StatusCode::OK);
    test.app.drain();
    let answer = test.admin("/readyz").await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
    assert_eq!(test.admin("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_are_counted_by_template_and_never_by_what_clients_write() {
    let test = Test::new().await;
    test.get("/api/v1/links/12345").await;
    test.get("/secret-path").await;
    test.call(Method::from_bytes(b"INVENTED").unwrap(), "/shorten", "").await;
    let text = test.admin("/metrics").await.body;
    let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    for line in [
        r#"carom_control_requests_total{surface="api",method="GET",route="/api/v1/links/{id}",status="4xx"} 1"#,
        r#"carom_control_requests_total{surface="api",method="GET",route="none",status="4xx"} 1"#,
        r#"carom_control_requests_total{surface="api",method="other",route="/shorten",status="4xx"} 1"#,
    ] {
        assert_eq!(lines(line), 1, "{line}\n{text}");
    }
    for private in ["12345", "secret-path", "INVENTED"] {
        assert!(!text.contains(private), "{private}");
    }
}
