//! What is answered to one client.

use crate::client::{Service, model, translator};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn answers_are_the_librarys() {
    let service = Service::start(&[]);
    let (mut to_german, mut to_english) = (translator("en-de"), translator("de-en"));
    let morning = to_german.translate("Good morning!").unwrap().text();
    let station = to_english.translate("Wo ist der Bahnhof?").unwrap().text();

    let asked = json!({ "q": "Good morning!", "source": "en", "target": "de" });
    assert_eq!(service.post(&asked), (200, json!({ "translatedText": morning })));
    let asked =
        json!({ "q": ["Wo ist der Bahnhof?", "", "Wo ist der Bahnhof?"], "source": "auto", "target": "en" });
    assert_eq!(service.post(&asked), (200, json!({ "translatedText": [station, "", station] })));
    let form = "application/x-www-form-urlencoded";
    let (status, answer) =
        service.request("POST", "/translate", form, "q=Good+morning%21&source=en&target=de&format=text");
    assert_eq!((status, answer), (200, json!({ "translatedText": morning }).to_string()));

    let asked = json!({ "q": "Good morning!", "source": "en", "target": "de", "alternatives": 3 });
    let (status, answer) = service.post(&asked);
    assert_eq!((status, &answer["translatedText"]), (200, &json!(morning)));
    let alternatives = answer["alternatives"].as_array().unwrap();
    assert!(alternatives.len() == 3 && alternatives.iter().all(|text| *text != morning), "{answer}");

    assert_eq!(service.get("/health"), (200, json!({ "status": "ok" }).to_string()));
    let languages: Value = serde_json::from_str(&service.get("/languages").1).unwrap();
    assert_eq!(languages[0], json!({ "code": "de", "name": "de", "targets": ["en"] }));
    assert_eq!(service.metric("siskin_texts_total"), 6.0);
    assert_eq!(service.metric("siskin_requests_total{status=\"200\"}"), 7.0);
    service.until_idle();
}

#[test]
fn a_stream_grows_to_the_whole_answer() {
    let service = Service::start(&[]);
    let text = "The weather is nice today. We are going to the beach with our children.";
    let asked = json!({ "q": text, "source": "en", "target": "de", "stream": true }).to_string();
    let (status, events) = service.request("POST", "/translate", "application/json", &asked);
    assert_eq!(status, 200);
    let events: Vec<&str> = events.split_terminator("\n\n").collect();
    let (last, parts) = events.split_last().unwrap();
    let part = |event: &&str| -> String {
        let data: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        data["text"].as_str().unwrap().to_owned()
    };
    let whole = translator("en-de").translate(text).unwrap().text();
    assert!(parts.len() > 2, "{parts:?}");
    assert_eq!(parts.iter().map(part).collect::<String>(), whole);
    assert_eq!(*last, format!("event: done\ndata: {}", json!({ "translatedText": whole })));
}

#[test]
fn what_cannot_be_answered_has_a_status_and_a_message() {
    let service = Service::start(&["--max-request", "2000", "--max-texts", "3"]);
    for (asked, status, words) in [
        (json!({}), 400, "q is missing"),
        (json!({ "q": "a", "source": "en", "target": "fr" }), 400, "en to de, de to en"),
        (json!({ "q": "a" }), 400, "several models"),
        (json!({ "q": "a", "source": "en", "format": "html" }), 400, "html"),
        (json!({ "q": ["a", "a", "a", "a"], "source": "en" }), 413, "4 texts"),
        (json!({ "q": "a".repeat(2000), "source": "en" }), 413, "2000 bytes"),
        (json!({ "q": "a", "source": "en", "alternatives": 99 }), 400, "alternatives"),
    ] {
        let (got, answer) = service.post(&asked);
        let message = answer["error"].as_str().expect("an error");
        assert!(got == status && message.contains(words), "{asked}: {got} {message}");
    }
    assert_eq!(service.request("POST", "/translate", "application/json", "\u{1}").0, 400);
    assert_eq!(service.get("/translate").0, 405);
    assert_eq!(service.get("/nothing").0, 404);
    assert_eq!(service.request("DELETE", "/health", "", "").0, 405);
    assert_eq!(service.get("/health").0, 200);
}

#[test]
fn wrong_command_lines_are_refused() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_siskin")).arg("serve").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let service = Service::start(&[]);
    let (status, message) = run(&["-m", &model("en-de"), "--address", &service.address]);
    assert!(status == Some(1) && message.contains("cannot listen on"), "{message}");
    assert_eq!(run(&["-m", &model("en-de"), "--workers", "0"]).0, Some(2));
    assert_eq!(run(&["-m", &model("en-de"), "--beam", "99"]).0, Some(2));
    assert_eq!(run(&["-m", "no-such-file"]).0, Some(1));
}

#[test]
fn the_manual_has_every_option() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/serve.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_siskin")).args(["serve", "-h"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let own = help.split("Search (what is not given").next().unwrap();
    let options: Vec<&str> =
        own.split_whitespace().filter(|word| word.starts_with("--") && *word != "--help").collect();
    assert!(options.len() > 7, "{own}");
    for option in options {
        assert!(manual.contains(&format!("`{option}")), "docs/serve.md lacks {option}");
    }
}

#[test]
fn the_client_of_libretranslate_works() {
    let script = "import sys\n\
                  from libretranslatepy import LibreTranslateAPI\n\
                  api = LibreTranslateAPI(sys.argv[1])\n\
                  print(api.translate('Good morning!', 'en', 'de'))\n\
                  print(sorted(language['code'] for language in api.languages()))\n";
    let python =
        |script: &str, argument: &str| Command::new("python3").args(["-c", script, argument]).output();
    if !python("import libretranslatepy", "").is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: the client of LibreTranslate: Python has no libretranslatepy");
        return;
    }
    let service = Service::start(&[]);
    let output = python(script, &format!("http://{}/", service.address)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = translator("en-de").translate("Good morning!").unwrap().text();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{expected}\n['de', 'en']\n"));
}
