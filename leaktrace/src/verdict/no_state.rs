//! Why survivors could not be held against their allocator's own state.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoState {
    ProcessEnded,
    UnknownHeap,
    OtherAllocator,
    Unread,
    AllFreed,
    /// And probes were away since the survivors were born.
    Unheard,
}

impl NoState {
    const ALL: [Self; 6] = [
        Self::ProcessEnded,
        Self::UnknownHeap,
        Self::OtherAllocator,
        Self::Unread,
        Self::AllFreed,
        Self::Unheard,
    ];

    /// As a person reads it, and as it stands in data.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ProcessEnded => "its process has ended",
            Self::UnknownHeap => "its heap is not as a known glibc has it",
            Self::OtherAllocator => "it is not of glibc's malloc, whose state alone can be read",
            Self::Unread => "it is in a part of the heap that could not be read",
            Self::AllFreed => "all that was counted was freed since",
            Self::Unheard => {
                "its allocator's state cannot be read, and its frees were not heard of between windows"
            }
        }
    }
}

impl Serialize for NoState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.describe())
    }
}

impl<'de> Deserialize<'de> for NoState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|one| one.describe() == text);
        known.ok_or_else(|| D::Error::custom("not a reason why nothing could be verified"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_read_back_as_itself() {
        for reason in NoState::ALL {
            let written = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<NoState>(&written).unwrap(), reason);
        }
        assert!(serde_json::from_str::<NoState>("\"\"").is_err());
    }
}
