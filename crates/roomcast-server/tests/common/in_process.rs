//! Polling sessions that call the service directly, without TCP.

use roomcast_server::engine::EngineService;
use tower_service::Service;

async fn ask(service: &EngineService, method: &str, query: &str, body: &str) -> String {
    let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
    let request = http::Request::builder().method(method).uri(uri).body(body.to_owned()).unwrap();
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
    let open = ask(service, "GET", "", "").await;
    let sid = open.strip_prefix("0{\"sid\":\"").unwrap()[..20].to_owned();
    assert_eq!(ask(service, "POST", &format!("&sid={sid}"), "40").await, "ok");
}
