//! Many clients, slow ones, and some that go away.

use crate::client::{Service, read, translator};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const JSON: &str = "application/json";

fn ask(text: &str) -> String {
    json!({ "q": text, "source": "en", "target": "de" }).to_string()
}

/// A request that takes long: `count` texts.
fn long(count: usize) -> String {
    let text = "The weather is nice today, and we are going to the beach with our children.";
    json!({ "q": vec![text; count], "source": "en", "target": "de" }).to_string()
}

#[test]
fn a_thousand_requests_at_once_are_all_answered() {
    let service = Service::start(&["--queue", "1000", "--workers", "2", "--time-limit", "300"]);
    let texts = ["Good morning!", "Where is the station?", "I like tea.", "She is reading a book."];
    let mut translator = translator("en-de");
    let expected = texts.map(|text| translator.translate(text).unwrap().text());
    let began = Instant::now();
    let clients: Vec<TcpStream> =
        (0..1000).map(|i| service.send("POST", "/translate", JSON, &ask(texts[i % texts.len()]))).collect();
    let mut times = Vec::new();
    for (i, client) in clients.into_iter().enumerate() {
        let (status, answer) = read(client);
        times.push(began.elapsed());
        assert_eq!(
            (status, answer),
            (200, json!({ "translatedText": expected[i % texts.len()] }).to_string())
        );
    }
    println!("1000 requests at once: p50 {:?}, p95 {:?}", times[500], times[950]);
}

#[test]
fn too_many_requests_are_refused_at_once_and_the_others_answered() {
    let service = Service::start(&["--queue", "4", "--time-limit", "600", "--max-texts", "500"]);
    let busy = service.send("POST", "/translate", JSON, &long(500));
    while service.metric("siskin_running") < 1.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let clients: Vec<TcpStream> =
        (0..20).map(|_| service.send("POST", "/translate", JSON, &ask("One apple"))).collect();
    let mut statuses: Vec<u16> = Vec::new();
    for client in clients.into_iter().rev() {
        // Those that came last are refused while the first one is still computed.
        let refused = statuses.len() < 16;
        let (status, answer) = read(client);
        statuses.push(status);
        assert_eq!(status, if refused { 503 } else { 200 }, "{statuses:?} {answer}");
    }
    assert_eq!(read(busy).0, 200);
    assert_eq!(service.get("/health").0, 200);
}

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let service = Service::start(&["--connections", "40"]);
    let mut slow: Vec<TcpStream> = (0..30).map(|_| service.connect()).collect();
    for (i, client) in slow.iter_mut().enumerate() {
        let start = "POST /translate HTTP/1.1\r\nContent-Length: 100\r\n";
        let sent = if i % 2 == 0 { start.to_owned() } else { format!("{start}\r\n{{") };
        client.write_all(sent.as_bytes()).unwrap();
    }
    assert_eq!(service.request("POST", "/translate", JSON, &ask("One apple")).0, 200);
    for (i, mut client) in slow.into_iter().enumerate() {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let expected = if i % 2 == 0 { "" } else { "HTTP/1.1 408" };
        assert!(String::from_utf8(answer).unwrap().starts_with(expected), "client {i}");
    }
    assert_eq!(service.metric("siskin_connections"), 1.0);
}

#[test]
fn endless_requests_are_cut_off() {
    let service = Service::start(&["--max-request", "2000"]);
    for (start, again) in [
        ("POST /translate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n"),
        ("GET /health HTTP/1.1\r\n", "X-Again: and again\r\n"),
    ] {
        let mut client = service.connect();
        client.write_all(start.as_bytes()).unwrap();
        let began = Instant::now();
        while client.write_all(again.as_bytes()).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(60), "{start}");
        }
        assert_eq!(service.get("/health").0, 200);
    }
    assert_eq!(service.metric("siskin_connections"), 1.0);
}

#[test]
fn what_nobody_waits_for_is_not_computed() {
    let service = Service::start(&["--time-limit", "1", "--max-texts", "5000"]);
    let began = Instant::now();
    let (status, answer) = read(service.send("POST", "/translate", JSON, &long(5000)));
    assert!(status == 504 && answer.contains("given up"), "{status} {answer}");
    assert!(began.elapsed() < Duration::from_secs(20));
    service.until_idle();

    let service = Service::start(&["--time-limit", "600", "--max-texts", "5000"]);
    let clients: Vec<TcpStream> =
        (0..8).map(|_| service.send("POST", "/translate", JSON, &long(5000))).collect();
    while service.metric("siskin_running") < 1.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(clients);
    println!("idle {:?} after 8 clients left", service.until_idle());
    assert_eq!(service.metric("siskin_texts_total"), 0.0);
}
