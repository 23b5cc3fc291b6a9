//! Polling sessions that call the service directly, without TCP.

use roomcast_server::engine::EngineService;
use tower_service::Service;

async fn ask(service: &EngineService, method: &str, query: &str, body: &str) -> String {
    ask_with(service, method, query, body, |_| {}).await
}

async fn ask_with(
    service: &EngineService,
    method: &str,
    query: &str,
    body: &str,
    change: impl FnOnce(&mut http::Extensions),
) -> String {
    let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
    let mut request = http::Request::builder().method(method).uri(uri).body(body.to_owned()).unwrap();
    change(request.extensions_mut());
    let mut answer = service.clone().call(request).await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut answer), cx)).await
    {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    String::from_utf8(text).unwrap()
}

pub async fn join(service: &EngineService) {
    join_with(service, |_| {}).await;
}

/// Joins by a session whose first request has extensions that `change` adds.
pub async fn join_with(service: &EngineService, change: impl FnOnce(&mut http::Extensions)) {
    let open = ask_with(service, "GET", "", "", change).await;
    let sid = open.strip_prefix("0{\"sid\":\"").unwrap()[..20].to_owned();
    assert_eq!(ask(service, "POST", &format!("&sid={sid}"), "40").await, "ok");
}
