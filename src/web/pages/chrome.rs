//! The frame around every page: title, navigation, who is signed in, the demo banner, one notice.

/// What `layout.html` needs. Build it once a request.
#[derive(Debug, Clone, Default)]
pub struct Chrome {
    /// Shown in the browser's tab, before the product's name.
    pub title: String,
    /// None: nobody is signed in, and there is neither navigation nor sign-out.
    pub user: Option<String>,
    /// The role in a word, for example `Supervisor`.
    pub role_word: String,
    pub nav: Vec<NavItem>,
    /// The session's token: every form carries it as the hidden field `csrf`.
    pub csrf: String,
    pub demo: bool,
    /// What just happened, said once at the top of the next page.
    pub notice: Option<Notice>,
    /// The product's version.
    pub version: String,
}

/// One link of the navigation. Which of them a role gets is the caller's to say.
#[derive(Debug, Clone)]
pub struct NavItem {
    pub href: String,
    pub text: String,
    pub current: bool,
    /// How many things wait behind the link. None: no number.
    pub count: Option<u64>,
}

/// A sentence about what just happened.
#[derive(Debug, Clone)]
pub struct Notice {
    /// False: something did not work.
    pub success: bool,
    pub text: String,
}
