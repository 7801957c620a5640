//! What a `Translator` promises beside its text: requests end when they are told to, need the memory that they plan, and
//! take a model from wherever it lies.

mod support;

use siskin::pipeline::Limits;
use siskin::{ErrorKind, Model, Result, TranslateOptions, Translator};
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use support::{model_file, open};

fn translator() -> Translator {
    Translator::new(open(&model_file())).unwrap()
}

#[test]
fn another_thread_ends_a_batch_and_every_later_request() {
    let texts = vec!["siskin"; 100_000];
    for threads in [1, 2] {
        let options = TranslateOptions { threads, ..translator().options().clone() };
        let mut translator = translator().with_options(options).unwrap();
        let cancellation = translator.cancellation().clone();
        let thread = std::thread::spawn(move || cancellation.cancel());
        let ended = translator.translate_batch(&texts).err().map(|error| error.kind());
        assert_eq!(ended, Some(ErrorKind::Cancelled), "{threads} threads");
        thread.join().unwrap();
        assert_eq!(translator.translate("siskin").unwrap_err().kind(), ErrorKind::Cancelled);
        translator.cancellation().reset();
        assert!(translator.translate("siskin").is_ok());
    }
}

#[test]
fn a_stream_ends_at_the_step_in_which_it_is_cancelled() {
    let mut translator = translator();
    let whole = translator.translate("siskin").unwrap().text();
    let cancellation = translator.cancellation().clone();
    let mut heard = String::new();
    let ended = translator.translate_streaming("siskin", |part| {
        heard += part;
        cancellation.cancel();
        ControlFlow::Continue(())
    });
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(
        !heard.is_empty() && heard.len() < whole.len() && whole.starts_with(&heard),
        "{heard} of {whole}"
    );
}

#[test]
fn a_request_fits_in_what_was_planned_and_in_no_byte_less() -> Result<()> {
    let source = 16;
    let needed = translator().plan(1, source)?;
    let with_limit = |bytes| {
        let translator = translator();
        let limits = Limits { max_memory: Some(bytes) };
        let options = TranslateOptions { limits, ..translator.options().clone() };
        translator.with_options(options)?.translate("siskin")
    };
    with_limit(needed)?;
    assert_eq!(with_limit(needed - 1).unwrap_err().kind(), ErrorKind::MemoryLimit);
    assert_eq!(translator().plan(0, source).unwrap_err().kind(), ErrorKind::InvalidOption);
    assert_eq!(translator().plan(1, usize::MAX).unwrap_err().kind(), ErrorKind::InputTooLong);
    Ok(())
}

#[test]
#[allow(unsafe_code)]
fn a_model_may_be_a_part_of_another_file() -> Result<()> {
    let path = std::env::temp_dir().join(format!("siskin-part-{}", std::process::id()));
    let (before, model) = ([b'x'; 4100], model_file());
    let (start, end) = (before.len() as u64, (before.len() + model.len()) as u64);
    File::create(&path).unwrap().write_all(&[&before, &model[..], &before].concat()).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // SAFETY: nobody else knows the file any more.
    let mapped = unsafe { Model::map_range(&file, start..end) }?;
    let read = Model::open_range(&file, start..end)?;
    let error = |range| Model::open_range(&file, range).err().map(|error| error.kind());
    assert_eq!(error(0..end), Some(ErrorKind::NotAModel));
    assert_eq!(error(start..u64::MAX), Some(ErrorKind::InvalidOption));
    assert_eq!(error(end..start), Some(ErrorKind::InvalidOption));
    drop(file);
    let text = |model| Translator::new(Arc::new(model))?.translate("siskin").map(|answer| answer.text());
    assert_eq!(text(mapped)?, text(read)?);
    Ok(())
}
