//! Tables of words that name screening treats specially: legal forms, filler, common and place words, words
//! that mean the same. Owns data only; everything is lower case ASCII, as it looks after transliteration.

/// Legal forms of one word. They say how a company is registered, not who it is.
#[rustfmt::skip]
pub const LEGAL_FORMS: &[&str] = &[
    "ab", "ag", "ao", "as", "asa", "bv", "bvba", "co", "company", "corp", "corporation", "cv", "doo", "eood",
    "fze", "fzc", "fzco", "fzllc", "gmbh", "inc", "incorporated", "jsc", "kft", "kg", "kk", "limited",
    "limitada", "llc", "llp", "ltd", "ltda", "mbh", "nv", "oao", "ojsc", "ooo", "oy", "oyj", "pao", "pjsc",
    "plc", "pt", "pte", "pty", "pvt", "sa", "sae", "sal", "sarl", "sas", "sc", "sdn", "bhd", "spa", "spzoo",
    "srl", "sro", "sti", "zao", "zoo", "kompaniya", "kompaniia", "cia", "fgup", "gup", "nko", "pvtltd",
];

/// Legal forms of several words, longest first where one begins another.
#[rustfmt::skip]
pub const LEGAL_PHRASES: &[&[&str]] = &[
    &["federalnoe", "gosudarstvennoe", "unitarnoe", "predpriyatie"],
    &["federal", "state", "unitary", "enterprise"],
    &["obshchestvo", "s", "ogranichennoi", "otvetstvennostyu"], &["gu", "fen", "you", "xian", "gong", "si"],
    &["you", "xian", "gong", "si"], &["you", "xian", "ze", "ren", "gong", "si"],
    &["san", "ve", "tic", "ltd", "sti"], &["san", "tic", "ltd", "sti"], &["san", "tic", "ltd", "st"],
    &["sanayi", "ve", "ticaret"], &["limited", "liability", "company"],
    &["limited", "liability", "partnership"], &["open", "joint", "stock", "company"],
    &["closed", "joint", "stock", "company"], &["public", "joint", "stock", "company"],
    &["publik", "joint", "stock", "company"], &["joint", "stock", "company"],
    &["otkrytoe", "aktsionernoe", "obshchestvo"], &["zakrytoe", "aktsionernoe", "obshchestvo"],
    &["publichnoe", "aktsionernoe", "obshchestvo"], &["aktsionernoe", "obshchestvo"],
    &["aktsionernaya", "kompaniya"], &["sp", "z", "oo"], &["sdn", "bhd"], &["societe", "anonyme"],
    &["sociedad", "anonima"], &["gong", "si"],
];

/// What is left of a legal form that is out of order or misspelt: next to nothing, but not a name either.
#[rustfmt::skip]
pub const LEGAL_WORDS: &[&str] = &[
    "open", "joint", "stock", "jointstock", "closed", "publik", "liability", "obshchestvo", "aktsionernoe",
    "aktsionernaya", "otkrytoe", "zakrytoe", "publichnoe", "ogranichennoi", "otvetstvennostyu", "federalnoe",
    "gosudarstvennoe", "unitarnoe", "predpriyatie", "unitary", "company", "corporation", "limited",
];

/// Words before a ship's name.
#[rustfmt::skip]
pub const VESSEL_PREFIXES: &[&str] = &[
    "mv", "mt", "ss", "vessel", "motor", "tanker",
];

/// Articles, prepositions, conjunctions, in the languages that the lists hold.
#[rustfmt::skip]
pub const FILLER: &[&str] = &[
    "of", "the", "and", "for", "in", "de", "del", "la", "las", "los", "el", "al", "ul", "du", "des", "und",
    "fur", "ve", "et", "di", "da", "dos", "do",
];

/// One-letter conjunctions (Spanish, Portuguese, Russian): filler only between two other words.
#[rustfmt::skip]
pub const LETTER_CONJUNCTIONS: &[&str] = &[
    "y", "e", "i",
];

/// Words that many organisations share: agreeing on them says little. The weight is in `names`.
#[rustfmt::skip]
pub const COMMON: &[&str] = &[
    "academy", "administration", "advanced", "aero", "aerospace", "africa", "agency", "agro", "air",
    "airline", "alliance", "america", "american", "analytics", "applied", "army", "asia", "asset", "assets",
    "associates", "association", "atlantic", "auto", "automation", "automotive", "avto", "aviation", "bank",
    "banking", "base", "bio", "blue", "branch", "brothers", "builders", "bureau", "business", "capital",
    "cargo", "center", "central", "chemical", "chemicals", "city", "college", "commerce", "commercial",
    "communication", "communications", "complex", "components", "composite", "computer", "construction",
    "consulting", "contracting", "control", "cooperative", "council", "credit", "data", "defense",
    "department", "design", "development", "device", "devices", "digital", "direct", "distribution",
    "division", "eagle", "east", "eastern", "electric", "electrical", "electronic", "electronics",
    "elektronika", "energy", "engineering", "enterprise", "enterprises", "environmental", "equipment",
    "europe", "european", "experimental", "export", "express", "factory", "farm", "federal", "finance",
    "financial", "first", "food", "foods", "foundation", "freight", "gas", "general", "global", "gold",
    "golden", "great", "green", "group", "health", "healthcare", "heavy", "high", "holding", "holdings",
    "home", "hospital", "import", "independent", "industrial", "industry", "information", "innovation",
    "institute", "instrument", "instruments", "insurance", "international", "internacional", "investment",
    "investments", "laboratory", "lab", "labs", "leasing", "life", "light", "logistics", "machine",
    "machinery", "management", "manufacturing", "marine", "maritime", "market", "marketing", "materials",
    "mechanical", "medical", "metal", "metals", "military", "mining", "ministry", "modern", "national",
    "natural", "network", "networks", "new", "north", "northern", "nuclear", "office", "oil", "optical",
    "optics", "optika", "organization", "pacific", "partner", "partners", "petroleum", "pharma",
    "pharmaceutical", "plan", "plant", "plastics", "power", "precision", "premier", "process", "product",
    "production", "products", "project", "projects", "property", "public", "quality", "radio", "red",
    "regional", "relief", "research", "resources", "robotics", "royal", "safety", "science", "sciences",
    "scientific", "sea", "security", "semiconductor", "service", "services", "shipping", "silver", "society",
    "software", "solar", "solutions", "sons", "source", "south", "southern", "special", "standard", "star",
    "state", "steel", "studio", "supplies", "supply", "system", "systems", "technical", "technologies",
    "technology", "telecom", "test", "textile", "tool", "tools", "trade", "trading", "transport",
    "transportation", "travel", "trust", "union", "united", "university", "ventures", "water", "west",
    "western", "works", "world", "worldwide", "zavod", "pribor", "pribory", "nauchno", "proizvodstvenny",
    "proizvodstvennoe", "obedinenie", "kontsern", "leasing", "lizing", "comercializadora", "konstruktorskoe",
    "byuro", "tekhnologii", "spedition",
];

/// Places: agreeing on where somebody is says little about who it is.
#[rustfmt::skip]
pub const PLACES: &[&str] = &[
    "abu", "afghanistan", "algeria", "ankara", "anhui", "arab", "arabia", "argentina", "armenia", "asian",
    "australia", "austria", "bahrain", "baku", "balkan", "baltic", "bangkok", "beijing", "belarus", "belgium",
    "berlin", "bogota", "brazil", "britain", "british", "bulgaria", "burma", "burmese", "california",
    "canada", "canadian", "caribbean", "caspian", "china", "chinese", "chongqing", "colombia", "croatia",
    "cuba", "cyprus", "dalian", "damascus", "denmark", "dhabi", "dubai", "egypt", "england", "estonia",
    "finland", "florida", "france", "french", "fujian", "gansu", "georgia", "german", "germany", "greece",
    "guangdong", "guangxi", "guangzhou", "guizhou", "gulf", "hainan", "hamburg", "hangzhou", "havana", "hk",
    "hebei", "heilongjiang", "henan", "hong", "hongkong", "hubei", "hunan", "hungary", "india", "indian",
    "indonesia", "iran", "iranian", "iraq", "ireland", "isfahan", "israel", "istanbul", "italy", "japan",
    "jiangsu", "jiangxi", "jilin", "jordan", "kabul", "karachi", "kazakhstan", "kiev", "kong", "korea",
    "korean", "kursk", "kuwait", "latin", "latvia", "lebanon", "liaoning", "libya", "lithuania", "london",
    "malaysia", "mexico", "miami", "minsk", "mongolia", "moscow", "moskow", "moskovski", "moskva", "nanjing",
    "netherlands", "nordic", "norway", "novosibirsk", "oman", "pakistan", "pakistani", "panama", "paris",
    "persian", "poland", "portugal", "qatar", "romania", "russia", "russian", "sanaa", "saudi", "scotland",
    "serbia", "shaanxi", "shandong", "shanghai", "shanxi", "shenzhen", "siberia", "siberian", "sichuan",
    "singapore", "slovakia", "slovenia", "spain", "sweden", "swiss", "switzerland", "syria", "syrian",
    "taiwan", "tashkent", "tehran", "texas", "thailand", "tianjin", "tokyo", "tunisia", "turkey", "turkish",
    "uae", "ukraine", "ural", "uzbekistan", "venezuela", "vienna", "vietnam", "volgograd", "warsaw", "wuhan",
    "xinjiang", "yemen", "yunnan", "zhejiang", "zurich",
];

/// Words that are written or translated in several ways, and the one that stands for them all.
#[rustfmt::skip]
pub const SAME_WORD: &[(&str, &str)] = &[
    ("centre", "center"), ("tsentr", "center"), ("centro", "center"), ("zentrum", "center"),
    ("intl", "international"), ("internatl", "international"), ("mezhdunarodny", "international"),
    ("internationale", "international"), ("internacional", "international"), ("tech", "technology"),
    ("technologies", "technology"), ("tekhnologii", "technology"), ("technologii", "technology"),
    ("univ", "university"), ("universitet", "university"), ("universitat", "university"),
    ("universidad", "university"), ("universite", "university"), ("inst", "institute"),
    ("institut", "institute"), ("instituto", "institute"), ("eng", "engineering"), ("engg", "engineering"),
    ("mfg", "manufacturing"), ("ind", "industry"), ("inds", "industry"), ("industries", "industry"),
    ("elec", "electronics"), ("mgmt", "management"), ("dev", "development"), ("svcs", "services"),
    ("grp", "group"), ("gruppa", "group"), ("bros", "brothers"), ("sci", "scientific"), ("natl", "national"),
    ("assn", "association"), ("lab", "laboratory"), ("labs", "laboratory"), ("banca", "bank"),
    ("banco", "bank"), ("banque", "bank"), ("trdg", "trading"), ("shpg", "shipping"), ("lizing", "leasing"),
    ("auto", "avto"), ("grupo", "group"), ("defence", "defense"), ("organisation", "organization"),
    ("factory", "plant"), ("zavod", "plant"), ("radiomaterials", "radiomaterialov"), ("one", "1"),
    ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"), ("six", "6"), ("seven", "7"), ("eight", "8"),
    ("nine", "9"), ("ten", "10"), ("second", "2"), ("third", "3"), ("fourth", "4"), ("fifth", "5"),
    ("sixth", "6"), ("seventh", "7"), ("eighth", "8"), ("ninth", "9"), ("tenth", "10"), ("banking", "bank"),
    ("regt", "regiment"), ("tecnologica", "technology"), ("tecnologico", "technology"), ("ii", "2"),
    ("iii", "3"), ("iv", "4"),
];

/// Chinese words for kinds of organisation, read syllable by syllable, and their usual English; and places of
/// two words.
#[rustfmt::skip]
pub const TRANSLATED_PHRASES: &[(&[&str], &[&str])] = &[
    (&["gong", "ye", "da", "xue"], &["university", "technology"]),
    (&["li", "gong", "da", "xue"], &["university", "technology"]), (&["da", "xue"], &["university"]),
    (&["yin", "xing"], &["bank"]), (&["yin", "hang"], &["bank"]),
    (&["yan", "jiu", "suo"], &["research", "institute"]),
    (&["yan", "jiu", "yuan"], &["research", "institute"]), (&["ji", "tuan"], &["group"]),
    (&["ke", "ji"], &["technology"]), (&["hong", "kong"], &["hk"]),
];

/// Characters that the transliteration table reads in a rarer way than names use them.
#[rustfmt::skip]
pub const READINGS: &[(char, &str)] = &[
    ('广', "Guang "), ('重', "Chong "), ('厦', "Xia "), ('长', "Chang "),
];
