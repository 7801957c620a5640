/// x
pub struct Sentences;
/// y
pub fn split_sentences() {}
