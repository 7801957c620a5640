//! `siskin serve` as its clients see it: good ones, wrong ones, slow ones, too many, and LibreTranslate's own.

mod answers;
mod client;
mod floods;
