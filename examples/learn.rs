//! Teaches the shipped model two vocabularies, and lets one base serve both.
//!
//! ```sh
//! cargo run --release --features learn --example learn -- models/en-de/en-de.siskin
//! ```

use siskin::learn::{Budget, LearnOptions, Learner};
use siskin::model::Reach;
use siskin::{Model, Translator};
use std::sync::Arc;

const BIRDS: &[(&str, &str)] = &[
    ("I saw a lapwing.", "Ich habe einen Kiebitz gesehen."),
    ("The lapwing is very small.", "Der Kiebitz ist sehr klein."),
    ("Where is the lapwing?", "Wo ist der Kiebitz?"),
];

const OFFICE: &[(&str, &str)] = &[
    ("The ledger is on the table.", "Das Hauptbuch liegt auf dem Tisch."),
    ("Please bring me the ledger.", "Bitte bring mir das Hauptbuch."),
    ("He wrote it in the ledger.", "Er schrieb es in das Hauptbuch."),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: learn MODEL")?;
    let model = Arc::new(Model::open(path)?);
    let mut translators = vec![("nothing", Translator::new(Arc::clone(&model))?)];
    for (name, lesson) in [("birds", BIRDS), ("the office", OFFICE)] {
        let mut learner = Learner::new(&model, LearnOptions::of(Reach::Terms), Budget::default())?;
        println!("{name}: {}", learner.learn(lesson)?);
        translators.push((name, Translator::new(Arc::clone(&model))?.with_adapter(learner.adapter()?)?));
    }
    for text in ["The lapwing is beautiful.", "Where is the ledger?"] {
        for (name, translator) in &mut translators {
            println!("{text} With {name}: {}", translator.translate(text)?.text());
        }
    }
    Ok(())
}
