//! `siskin translate`.

use crate::command::{folder, model, output, run, siskin, translate, write};
use crate::support::{POSITIONS, model_file, with_shortlist};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

const WORDS: &str = "siskin\nfinch\na\nthe quick fox\ngoldfinch\n";

#[test]
fn answers_keep_the_order_of_the_lines() {
    let together = translate(&["--batch", "3", "--threads", "2"], WORDS.as_bytes());
    let together = together.lines();
    assert_eq!(together.len(), 5);
    let alone: Vec<String> = WORDS.lines().map(|word| translate(&[word], b"").lines().concat()).collect();
    assert_eq!(together, alone);
    assert!(alone.iter().all(|answer| !answer.is_empty()));
    assert!(alone.iter().any(|answer| *answer != alone[0]), "a model that tells its inputs apart");
    let texts: Vec<&str> = WORDS.lines().collect();
    assert_eq!(translate(&texts, b"").lines(), together);
}

#[test]
fn files_give_what_pipes_give() {
    let input = write("words.txt", WORDS.as_bytes());
    let output = folder().join(format!("cli-{}-answers.txt", std::process::id()));
    let (input, output_name) = (input.to_str().unwrap(), output.to_str().unwrap());
    let said = translate(&["--input", input, "--output", output_name, "--load", "read"], b"");
    assert_eq!(said.lines(), [""; 0]);
    assert_eq!(fs::read_to_string(output).unwrap(), translate(&[], WORDS.as_bytes()).out);
    let said = translate(&["--input", input, "--output", input], b"");
    said.fails(2, &["--output", "would overwrite"]);
    assert_eq!(fs::read_to_string(input).unwrap(), WORDS);
}

#[test]
fn blank_lines_and_a_last_line_without_end_are_lines() {
    let said = translate(&[], b"\nsiskin\r\n\nfinch");
    let lines = said.lines();
    let [first, second, third, fourth] = lines[..] else { panic!("4 lines: {lines:?}") };
    assert_eq!((first, third), ("", ""));
    let words = translate(&["siskin", "finch"], b"");
    assert_eq!(words.lines(), [second, fourth]);
    assert_eq!(translate(&[], b"").lines(), [""; 0]);
    assert_eq!(translate(&["--scores", "--n-best", "2"], b"\n").lines(), ["0\t\t0"]);
}

#[test]
fn a_line_that_cannot_be_answered_is_named_and_the_others_are_answered() {
    let long = "a".repeat(POSITIONS);
    let input = [b"siskin\nx\xffy\n", long.as_bytes(), "\nça\nfinch\n".as_bytes()].concat();
    let said = translate(&[], &input);
    said.fails(
        1,
        &[
            "siskin: line 2: not UTF-8 at byte 2",
            "siskin: line 3: the input has 25 tokens",
            "siskin: line 4: the \
          character `ç` at byte 0",
        ],
    );
    assert_eq!(said.err.lines().count(), 3, "{}", said.err);
    let answers: Vec<&str> = said.out.lines().collect();
    let words = translate(&["siskin", "finch"], b"");
    assert_eq!(answers, [words.lines()[0], "", "", "", words.lines()[1]]);

    let json = translate(&["--json"], &input);
    assert_eq!(json.status, 1);
    let errors: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = errors.iter().filter_map(|line| line["error"]["kind"].as_str()).collect();
    assert_eq!(kinds, ["InvalidUtf8", "InputTooLong", "Vocabulary"]);
}

/// Bytes of the input that the 24 positions of the test model hold, one taken by the end token.
const START: usize = 23;

#[test]
fn documents_are_read_as_a_whole_or_as_much_as_fits() {
    let text = "a finch. a fox. a dogs. a bird. a cat.";
    let said = output(siskin().args(["summarize", "-m"]).arg(model()).arg(text));
    assert_eq!(said.out, translate(&[&text[..START]], b"").out);
    assert!(said.err.contains("only the start was read"), "{}", said.err);
}

#[test]
fn without_a_name_the_model_is_the_shipped_one() {
    let home = folder().join(format!("cli-shipped-{}", std::process::id()));
    let place = home.join("models/en-de");
    std::fs::create_dir_all(&place).expect("a folder");
    let shipped =
        || output(siskin().current_dir(&home).env_remove("SISKIN_MODEL").args(["translate", "fox"]));
    shipped().fails(2, &["models/en-de/en-de.siskin", "--model or SISKIN_MODEL"]);
    std::fs::copy(model(), place.join("en-de.siskin")).expect("a copy");
    let expected = translate(&["fox"], b"");
    assert_eq!(shipped().lines(), expected.lines());
    std::fs::remove_dir_all(&home).expect("removed");
    let named =
        output(siskin().current_dir(folder()).env("SISKIN_MODEL", model()).args(["translate", "fox"]));
    assert_eq!(named.lines(), expected.lines());
}

#[test]
fn long_input_is_split_when_that_is_asked_for() {
    let words = "the quick brown fox jumps over the lazy dog";
    translate(&[words], b"").fails(1, &["line 1: the input has 44 tokens, the model 24 positions"]);
    let split = translate(&["--long-input", "split", words], b"");
    let parts = translate(&["the quick brown fox", "jumps over the lazy dog"], b"");
    assert_eq!(split.lines(), [parts.lines().join(" ")]);
    let cut = translate(&["--long-input", "truncate", words], b"");
    assert!(cut.err.contains("of 1 of 1 parts only the start was read"), "{}", cut.err);
    assert_eq!(cut.out, translate(&[&words[..START]], b"").out);
    let cut = translate(&["--long-input", "truncate", "--json", words], b"");
    let answer: serde_json::Value = serde_json::from_str(&cut.out).expect("JSON");
    assert_eq!(answer["segments"][0]["unread_tokens"], words.len() - START);
    let sentences = translate(&["--unit", "sentence", "A finch. A fox.".to_lowercase().as_str()], b"");
    assert_eq!(sentences.lines().len(), 1);
}

#[test]
fn n_best_scores_and_alignments_are_columns() {
    let said = translate(&["--n-best", "3", "--scores", "--alignments"], b"siskin\nfox\n");
    let rows: Vec<Vec<&str>> = said.lines().iter().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["0", "1", "2", "0", "1", "2"]);
    for sentence in rows.chunks(3) {
        let scores: Vec<f32> = sentence.iter().map(|row| row[2].parse().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] < 0.0, "{scores:?}");
        assert_ne!(sentence[0][1], sentence[1][1]);
    }
    for row in rows {
        let pairs: Vec<(usize, usize)> = row[3]
            .split(' ')
            .map(|pair| pair.split_once('-').expect("i-j"))
            .map(|(source, target)| (source.parse().unwrap(), target.parse().unwrap()))
            .collect();
        assert_eq!(pairs.len(), row[1].chars().count(), "a pair for each character");
        assert!(
            pairs.iter().enumerate().all(|(j, &(source, target))| target == j && source < 7),
            "{pairs:?}"
        );
    }
    translate(&["--n-best", "5", "--beam", "4"], b"a\n").fails(2, &["n_best is 5"]);
}

#[test]
fn json_has_everything() {
    let said = translate(&["--json", "--n-best", "2", "--prefix", "ab"], b"siskin\n\n");
    let lines: Vec<serde_json::Value> =
        said.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [answer, blank] = &lines[..] else { panic!("2 lines") };
    assert_eq!((&answer["line"], &blank["line"], &blank["text"]), (&1.into(), &2.into(), &"".into()));
    let text = answer["text"].as_str().unwrap();
    assert!(text.starts_with("ab"), "{text}");
    let segment = &answer["segments"][0];
    assert_eq!(segment["source_tokens"], serde_json::json!(["s", "i", "s", "k", "i", "n", "</s>"]));
    assert_eq!(segment["source"], serde_json::json!([0, 6]));
    let hypotheses = segment["hypotheses"].as_array().unwrap();
    assert_eq!((hypotheses.len(), answer["n_best"].as_array().unwrap().len()), (2, 2));
    let best = &hypotheses[0];
    let tokens: String =
        best["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(format!("ab{tokens}"), text);
    let count = best["tokens"].as_array().unwrap().len();
    for per_token in ["token_ids", "alignment"] {
        assert_eq!(best[per_token].as_array().unwrap().len(), count);
    }
    let log_probs = best["token_log_probs"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    assert!((log_probs.sum::<f64>() - best["log_prob"].as_f64().unwrap()).abs() < 1e-4, "{best}");
    assert_eq!(answer["score"], best["score"]);
}

#[test]
fn a_stream_is_the_text_in_parts() {
    for arguments in [&[][..], &["--beam", "4"], &["--prefix", "ab"], &["--long-input", "split"]] {
        let input = "siskin\n\nthe quick fox\nthe lazy dog and the quick fox\n";
        let whole = translate(arguments, input.as_bytes());
        let stream = translate(&[&["--stream"], arguments].concat(), input.as_bytes());
        let named = |err: &str| {
            err.lines().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((&stream.out, stream.status), (&whole.out, whole.status), "{arguments:?}");
        assert_eq!(named(&stream.err), named(&whole.err));
    }
    translate(&["--stream", "--json"], b"").fails(2, &["--stream", "--json"]);
}

#[test]
fn search_options_reach_the_search() {
    let text = |arguments: &[&str]| translate(arguments, b"siskin\n").lines()[0].to_owned();
    let plain = text(&[]);
    let first = &plain[..1];
    assert!(!text(&["--suppress", first]).contains(first));
    assert!(text(&["--max-length", "3"]).len() <= 3);
    assert!(text(&["--min-length", "11"]).len() >= 11);
    let varied = text(&["--no-repeat-ngram", "1", "--min-length", "11"]);
    let mut characters: Vec<char> = varied.chars().collect();
    characters.sort_unstable();
    assert!(characters.is_sorted_by(|a, b| a < b), "no character twice in {varied}");
    let sample = |seed: &str| {
        text(&["--sample", "--temperature", "2", "--top-k", "20", "--top-p", "0.99", "--seed", seed])
    };
    assert_eq!(sample("1"), sample("1"));
    assert!((2..9).any(|seed| sample(&seed.to_string()) != sample("1")), "seeds make a difference");
    let penalty = |x| translate(&["--scores", "--length-penalty", x], b"siskin\n").out;
    assert_ne!(penalty("0"), penalty("1"));
    translate(&["--suppress", "ß"], b"").fails(1, &["no target token \"ß\""]);
    translate(&["--prefix", "ß"], b"").fails(1, &["--prefix: the character `ß`"]);
    translate(&["--beam", "17"], b"").fails(2, &["strategy.size is 17"]);
    translate(&["--top-k", "3"], b"").fails(2, &["--sample"]);
    translate(&["--threads", "0"], b"").fails(2, &["threads is 0"]);
}

#[test]
fn a_task_is_asked_for_by_its_token() {
    let answers: BTreeSet<String> = [&[][..], &["--to", "de"], &["--to", "fr"]]
        .iter()
        .map(|arguments| translate(arguments, b"siskin\n").lines().concat())
        .collect();
    assert_eq!(answers.len(), 3, "each begins with other tokens: {answers:?}");
    assert!(answers.iter().all(|answer| !answer.contains('<')), "{answers:?}");
    let streamed = translate(&["--to", "fr", "--stream"], b"siskin\n").lines().concat();
    assert!(answers.contains(&streamed), "{streamed}");
    translate(&["--to", "es"], b"").fails(1, &["--to: the model has no token for `es`", r#"["de", "fr"]"#]);
    translate(&["--to", "a"], b"").fails(1, &["--to: the model has no token for `a`"]);
}

#[test]
fn what_does_not_fit_the_memory_is_refused_and_the_rest_answered() {
    let input = b"the quick brown fox\na\n";
    let [enough, little] = ["10MB", "1kB"].map(|size| translate(&["--max-memory", size], input));
    assert_eq!(enough.out, translate(&[], input).out);
    little.fails(1, &["line 1: a source of", "line 2: a source of", "more than the limit of 1000"]);
    assert_eq!(little.out, "\n\n");
    // Between what the two lines need alone: the message says how much that is.
    let needed = |line: usize| {
        let message = little.err.lines().nth(line).unwrap();
        let words: Vec<&str> = message.split(' ').collect();
        let at = words.iter().position(|word| *word == "needs").unwrap();
        words[at + 1].parse::<u64>().unwrap()
    };
    assert!(needed(1) < needed(0));
    let between = translate(&["--max-memory", &needed(1).to_string()], input);
    between.fails(1, &["line 1: a source of"]);
    assert_eq!(between.out.lines().nth(1), enough.out.lines().nth(1));
    translate(&["--max-memory", "3 parsecs"], b"").fails(2, &["PARSECS is no unit"]);
}

#[test]
fn a_typed_line_is_answered_at_once() {
    let mut child = siskin()
        .args(["translate", "-m"])
        .arg(model())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let words = translate(&[], WORDS.as_bytes());
    for (word, answer) in WORDS.lines().zip(words.lines()) {
        writeln!(stdin, "{word}").unwrap();
        let mut line = String::new();
        // The next word is only written when this one is answered.
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), answer);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let mut child = siskin()
        .args(["translate", "-m"])
        .arg(model())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // The command may have closed its input before all is written.
    let _ = stdin.write_all(WORDS.repeat(50).as_bytes());
    drop(stdin);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), &err[..]), (Some(0), ""));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let missing = folder().join("no-such-file");
    let missing = missing.to_str().unwrap();
    run(&["translate", "-m", missing, "a"]).fails(1, &["siskin: cannot open", "no-such-file"]);
    translate(&["--input", missing], b"").fails(1, &["siskin: cannot read", "no-such-file"]);
    let mut bytes = crate::support::model_file();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = write("damaged.siskin", &bytes);
    let damaged = damaged.to_str().unwrap();
    run(&["translate", "-m", damaged, "--load", "read", "a"]).fails(1, &["damaged.siskin", "checksum"]);
    let cut = write("cut.siskin", &bytes[..bytes.len() / 2]);
    run(&["translate", "-m", cut.to_str().unwrap(), "a"]).fails(1, &["cut.siskin", "the file is damaged"]);
    let other = write("other.siskin", WORDS.as_bytes());
    run(&["translate", "-m", other.to_str().unwrap(), "a"]).fails(1, &["not a Siskin model"]);
    let empty = write("empty.siskin", b"");
    run(&["translate", "-m", empty.to_str().unwrap(), "a"]).fails(1, &["empty.siskin"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    translate(&["--output", "/dev/full"], b"siskin\n").fails(1, &["siskin: cannot write /dev/full", "space"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_system_that_takes_no_files_is_an_error() {
    translate(&["--output", "/sys/siskin.txt"], b"siskin\n").fails(1, &["/sys/siskin.txt"]);
}

#[test]
fn a_shortlist_is_used_where_that_is_asked_for() {
    let listed = write("listed.siskin", &with_shortlist(&model_file(), 10, 6));
    let run = |arguments: &[&str]| {
        run(&[&["translate", "--model", listed.to_str().unwrap(), "--json"], arguments].concat())
    };
    let words: Vec<&str> = WORDS.lines().collect();
    let scopes = |how: &str| -> Vec<serde_json::Value> {
        let said = run(&[&["--shortlist", how], &words[..]].concat());
        assert_eq!(said.status, 0);
        assert_eq!(said.err.contains("searched again"), how == "verify", "{}", said.err);
        let json = said.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        json.map(|answer| answer["segments"][0]["shortlist"].clone()).collect()
    };
    assert!(scopes("off").iter().all(serde_json::Value::is_null));
    assert!(scopes("on").iter().all(|scope| scope["missed"].is_null() && scope["redone"] == false));
    let verified = scopes("verify");
    assert!(verified.iter().all(|scope| (scope["missed"] != 0) == (scope["redone"] == true)), "{verified:?}");
    translate(&["--shortlist", "on", "siskin"], b"").fails(2, &["the model file has no shortlist"]);
    run(&["--shortlist", "verify", "--sample", "siskin"]).fails(2, &["random tokens cannot be verified"]);
    let inspected = siskin().args(["inspect", listed.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(text.contains("shortlist: ") && text.contains(" tokens always listed, "), "{text}");
}
