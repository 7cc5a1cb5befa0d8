//! What an AI agent said about a case, and what it rests on.

use super::status::{Status, StatusKind};

/// How serious the agent takes it to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiskLevel {
    High,
    Medium,
    Low,
    /// The agent gave no level that we know.
    Unknown,
}

impl RiskLevel {
    /// Reads an agent's `risk` value.
    pub fn parse(text: &str) -> RiskLevel {
        match text.trim().to_ascii_lowercase().as_str() {
            "high" | "critical" => RiskLevel::High,
            "medium" | "moderate" => RiskLevel::Medium,
            "low" | "none" => RiskLevel::Low,
            _ => RiskLevel::Unknown,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            RiskLevel::High => "High risk",
            RiskLevel::Medium => "Medium risk",
            RiskLevel::Low => "Low risk",
            RiskLevel::Unknown => "Risk not stated",
        }
    }

    /// As icon, word and colour.
    pub fn status(self) -> Status {
        let kind = match self {
            RiskLevel::High => StatusKind::Alert,
            RiskLevel::Medium => StatusKind::Warning,
            RiskLevel::Low => StatusKind::Done,
            RiskLevel::Unknown => StatusKind::Todo,
        };
        Status::new(kind, self.word())
    }

    /// The ending of the component's class: `assessment--high`.
    pub fn class(self) -> &'static str {
        match self {
            RiskLevel::High => "high",
            RiskLevel::Medium => "medium",
            RiskLevel::Low => "low",
            RiskLevel::Unknown => "unknown",
        }
    }
}

/// An agent's answer, ready to weigh.
#[derive(Debug, Clone)]
pub struct Assessment {
    pub risk: RiskLevel,
    /// One sentence: what was found.
    pub headline: String,
    pub reasons: Vec<String>,
    pub matches: Vec<Match>,
    /// Who says so, for example `Name screening, version 2`.
    pub source: String,
}

impl Assessment {
    /// A high risk is shown again, large, where somebody decides.
    pub fn is_high(&self) -> bool {
        self.risk == RiskLevel::High
    }
}

/// One name of the application that resembles an entry of a list.
#[derive(Debug, Clone)]
pub struct Match {
    /// The name as the application has it, and in which part: `Consignee: Nordwind Trading`.
    pub party: String,
    /// The name as the list has it.
    pub entry: String,
    /// Which list, and the entry's number there.
    pub list: String,
    /// 0 to 100.
    pub score: u8,
    /// Why the two are taken for one.
    pub why: String,
}
