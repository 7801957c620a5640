//! What a full stop means in each language: abbreviations, and words that start a sentence.

/// The language of a text, as far as cutting it into sentences goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// German.
    German,
    /// French.
    French,
    /// Spanish.
    Spanish,
    /// Any other: punctuation and letter case decide alone.
    #[default]
    Other,
}

impl Language {
    /// The language of a BCP 47 tag such as `de` or `de-AT`.
    pub fn from_tag(tag: &str) -> Self {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        let known =
            [("en", Self::English), ("de", Self::German), ("fr", Self::French), ("es", Self::Spanish)];
        let found = known.into_iter().find(|(code, _)| primary.eq_ignore_ascii_case(code));
        found.map_or(Self::Other, |(_, language)| language)
    }

    pub(super) fn rules(self) -> &'static Rules {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
            Self::French => &FRENCH,
            Self::Spanish => &SPANISH,
            Self::Other => &OTHER,
        }
    }
}

/// The word lists of a language. Words stand without their last full stop; lists of abbreviations are in lower case.
pub(super) struct Rules {
    /// Abbreviations that something follows: a name, or the rest of a phrase.
    pub(super) never_last: &'static [&'static str],
    /// Abbreviations that a number follows.
    pub(super) before_number: &'static [&'static str],
    /// Abbreviations that may end a sentence: they do if a word of `starters` follows.
    pub(super) maybe_last: &'static [&'static str],
    /// Words that, with a capital, rather start a sentence than go on with a name.
    pub(super) starters: &'static [&'static str],
    /// Single letters that are words.
    pub(super) letter_words: &'static [&'static str],
    /// Whether nouns have capitals, so that "3. Tag" is "third day" and a capital says little about a new sentence.
    pub(super) capital_nouns: bool,
}

const ENGLISH: Rules = Rules {
    never_last: &[
        "mr", "mrs", "ms", "dr", "prof", "rev", "hon", "gen", "col", "maj", "capt", "cmdr", "lt", "sgt",
        "cpl", "pvt", "adm", "gov", "sen", "rep", "pres", "supt", "det", "messrs", "mmes", "vs", "e.g",
        "i.e", "cf", "viz",
    ],
    before_number: &[
        "no", "nos", "p", "pp", "fig", "figs", "vol", "vols", "ch", "sec", "art", "eq", "ca", "c", "jan",
        "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "approx",
    ],
    maybe_last: &[
        "etc", "jr", "sr", "inc", "ltd", "co", "corp", "bros", "esq", "ph.d", "rd", "st", "mt", "ft", "ave",
        "blvd", "dept", "univ", "assn", "est", "al",
    ],
    starters: &[
        "the", "a", "an", "this", "that", "these", "those", "he", "she", "it", "we", "they", "you", "i",
        "his", "her", "its", "their", "our", "my", "your", "but", "and", "or", "so", "then", "there", "if",
        "when", "while", "after", "before", "in", "on", "at", "as", "for", "from", "however", "what", "who",
        "why", "how", "where", "no", "yes", "not", "now", "to", "some", "many", "all", "one", "by", "with",
    ],
    letter_words: &["i"],
    capital_nouns: false,
};

const GERMAN: Rules = Rules {
    never_last: &[
        "dr", "prof", "hr", "fr", "hrn", "dipl", "ing", "med", "phil", "jur", "z.b", "d.h", "u.a", "i.d.r",
        "o.ä", "u.ä", "s.o", "s.u", "bzw", "ca", "evtl", "ggf", "inkl", "exkl", "zzgl", "sog", "vgl", "insb",
        "geb", "gest", "verh", "mind", "allg", "ehem", "eigtl", "entspr", "dt", "engl", "frz", "lat", "hl",
        "kath", "ev", "v.a", "z.t", "z.zt", "m.e", "bspw", "zw",
    ],
    before_number: &[
        "nr", "nrn", "s", "bd", "abb", "art", "abs", "kap", "ziff", "tab", "anm", "jan", "feb", "mär", "apr",
        "jun", "jul", "aug", "sep", "sept", "okt", "nov", "dez", "max", "min", "str", "tel",
    ],
    maybe_last: &[
        "usw", "etc", "u.s.w", "jh", "jhd", "jhdt", "mio", "mrd", "std", "sek", "co", "jr", "sen", "st",
        "chr",
    ],
    starters: &[
        "der", "die", "das", "ein", "eine", "einen", "einer", "er", "sie", "es", "wir", "ich", "ihr", "du",
        "man", "und", "aber", "oder", "doch", "denn", "dann", "danach", "da", "dort", "hier", "so", "nun",
        "jetzt", "wenn", "als", "weil", "obwohl", "nach", "vor", "in", "im", "am", "an", "auf", "bei", "mit",
        "zu", "zum", "zur", "von", "vom", "für", "um", "durch", "seit", "trotz", "auch", "nur", "noch",
        "schon", "dies", "diese", "dieser", "dieses", "jeder", "jede", "alle", "viele", "mein", "meine",
        "sein", "seine", "ihre", "unser", "unsere", "was", "wer", "wie", "wo", "warum", "nein", "ja",
        "nicht", "kein", "keine", "heute", "gestern", "morgen",
    ],
    letter_words: &[],
    capital_nouns: true,
};

const FRENCH: Rules = Rules {
    never_last: &[
        "m", "mm", "mme", "mmes", "mlle", "mlles", "mgr", "dr", "pr", "p.ex", "cf", "c.-à-d", "env", "av",
        "bd", "boul", "éd", "réf", "i.e", "vs",
    ],
    before_number: &[
        "n", "p", "pp", "art", "fig", "chap", "vol", "t", "janv", "févr", "avr", "juil", "sept", "oct",
        "nov", "déc", "tél",
    ],
    maybe_last: &["etc", "jr", "cie", "ltée", "s.a", "hab", "st", "ste", "al", "j.-c"],
    starters: &[
        "le", "la", "les", "l", "un", "une", "des", "du", "de", "ce", "cet", "cette", "ces", "c", "il",
        "elle", "ils", "elles", "on", "nous", "vous", "je", "j", "tu", "et", "mais", "ou", "or", "donc",
        "car", "puis", "alors", "si", "quand", "comme", "dans", "en", "au", "aux", "à", "pour", "par", "sur",
        "avec", "sans", "après", "avant", "son", "sa", "ses", "mon", "ma", "mes", "notre", "votre", "leur",
        "leurs", "qui", "que", "quoi", "où", "pourquoi", "comment", "non", "oui", "tout", "toute", "tous",
        "plus", "ne",
    ],
    letter_words: &["a", "y", "à"],
    capital_nouns: false,
};

const SPANISH: Rules = Rules {
    never_last: &[
        "sr", "sra", "srta", "sres", "sras", "dr", "dra", "dres", "prof", "profa", "lic", "ing", "arq",
        "gral", "cnel", "cap", "d", "dª", "dña", "sto", "sta", "fr", "mons", "excmo", "excma", "ilmo",
        "ilma", "p.ej", "ej", "cf", "cfr", "avda", "av", "pza", "apdo", "ee", "ff", "rr", "aprox", "i.e",
        "vs",
    ],
    before_number: &[
        "n", "núm", "núms", "nº", "p", "pág", "págs", "pp", "art", "arts", "fig", "vol", "t", "ene", "feb",
        "mar", "abr", "jun", "jul", "ago", "sept", "oct", "nov", "dic", "s", "tel",
    ],
    maybe_last: &[
        "etc", "uu", "aa", "hh", "cía", "s.a", "s.l", "jr", "c.f", "a.c", "d.c", "ud", "uds", "vd", "vds",
    ],
    starters: &[
        "el", "la", "los", "las", "lo", "un", "una", "unos", "unas", "este", "esta", "esto", "estos",
        "estas", "ese", "esa", "eso", "aquel", "aquella", "él", "ella", "ellos", "ellas", "yo", "tú",
        "usted", "ustedes", "nosotros", "y", "pero", "o", "si", "cuando", "como", "en", "al", "a", "de",
        "del", "por", "para", "con", "sin", "tras", "después", "antes", "su", "sus", "mi", "mis", "nuestro",
        "nuestra", "que", "qué", "quién", "dónde", "cómo", "cuándo", "no", "sí", "también", "entonces",
        "luego", "ahora", "hoy", "ayer", "se", "le", "les", "me", "te",
    ],
    letter_words: &[],
    capital_nouns: false,
};

const OTHER: Rules = Rules {
    never_last: &[],
    before_number: &[],
    maybe_last: &[],
    starters: &[],
    letter_words: &[],
    capital_nouns: false,
};
