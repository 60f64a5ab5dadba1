//! JavaScript functions: how stacks name them, and where they were seen.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names a JavaScript function for as long as its process lives, whatever the collector moves: the id of its script
/// (20 bits) and the number of its literal within (24 bits), and of which isolate, as each numbers its scripts anew (12
/// bits). Script id 0 stands for what has no script (made by C++); the number is then made from an address.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct FunctionKey(pub u64);

impl FunctionKey {
    const BITS: u32 = 24;
    const MASK: u64 = (1 << Self::BITS) - 1;
    const SCRIPT_BITS: u32 = 20;
    const SCRIPT_MASK: u64 = (1 << Self::SCRIPT_BITS) - 1;
    const ISOLATE_BITS: u32 = 12;

    /// Isolates that are told apart, the first thread's counted.
    pub const ISOLATES: u32 = (1 << Self::ISOLATE_BITS) - 1;

    /// Stands for code made from WebAssembly, of which frames do not say the function. No isolate has this number.
    pub const WASM: Self = Self((1 << (Self::BITS + Self::SCRIPT_BITS + Self::ISOLATE_BITS)) - 1);
    /// The same for what passes a call of it on to JavaScript.
    pub const WASM_TO_JS: Self = Self(Self::WASM.0 - 1);

    /// Of isolate 0, the first thread's.
    #[must_use]
    #[inline(always)]
    pub const fn new(script: u32, literal: u32) -> Self {
        Self((script as u64 & Self::SCRIPT_MASK) << Self::BITS | literal as u64 & Self::MASK)
    }

    /// Whether no other function of the isolate has the same key.
    #[must_use]
    #[inline(always)]
    pub const fn is_distinct(script: u32, literal: u32) -> bool {
        script as u64 <= Self::SCRIPT_MASK && literal as u64 <= Self::MASK
    }

    #[must_use]
    #[inline(always)]
    pub const fn in_isolate(self, isolate: u16) -> Self {
        const SHIFT: u32 = FunctionKey::BITS + FunctionKey::SCRIPT_BITS;
        Self(self.0 & ((1 << SHIFT) - 1) | (isolate as u64) << SHIFT)
    }

    #[must_use]
    pub const fn isolate(self) -> u16 {
        (self.0 >> (Self::BITS + Self::SCRIPT_BITS)) as u16
    }

    /// Whether it stands for code made for WebAssembly.
    #[must_use]
    pub const fn is_wasm(self) -> bool {
        self.0 >= Self::WASM_TO_JS.0
    }

    /// No other isolate's script has this.
    #[must_use]
    pub const fn script(self) -> u32 {
        (self.0 >> Self::BITS) as u32
    }

    #[must_use]
    pub const fn literal(self) -> u32 {
        (self.0 & Self::MASK) as u32
    }
}

/// A word of a stack's frames. Return addresses have a highest byte of 0, the other words say which in theirs.
///
/// A frame of JavaScript is a return address as any other, and after it the function; and where that is interpreted,
/// the place in its bytecode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// A return address.
    Address(u64),
    /// The function that runs in the frame of the address before it.
    Function(FunctionKey),
    /// Where in its bytecode the function before it is: the offset as the interpreter keeps it, which is in bytes from
    /// the `BytecodeArray`'s tagged pointer.
    Bytecode(u32),
}

const KIND_SHIFT: u32 = 56;
const FUNCTION: u64 = 0x80;
const BYTECODE: u64 = 0x81;

impl Word {
    #[must_use]
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        match self {
            Self::Address(address) => address,
            Self::Function(key) => FUNCTION << KIND_SHIFT | key.0,
            Self::Bytecode(offset) => BYTECODE << KIND_SHIFT | offset as u64,
        }
    }

    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        let rest = word & ((1 << KIND_SHIFT) - 1);
        match word >> KIND_SHIFT {
            FUNCTION => Self::Function(FunctionKey(rest)),
            BYTECODE => Self::Bytecode(rest as u32),
            _ => Self::Address(word),
        }
    }
}

/// Key of the kernel map `V8_FUNCTIONS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FunctionOf {
    /// [`crate::process::ProcessId`], widened.
    pub process: u64,
    pub key: FunctionKey,
}

/// Value of the kernel map `V8_FUNCTIONS`: where a function was when a stack showed it last. Tagged pointers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sighting {
    /// Its `JSFunction`
    pub function: u64,
    /// Its `SharedFunctionInfo`
    pub shared: u64,
    /// Its `BytecodeArray`; 0 until it was seen interpreted.
    pub bytecode: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_script_literal_and_isolate_apart() {
        let key = FunctionKey::new((1 << 20) - 1, (1 << 24) - 1).in_isolate(4094);
        assert_eq!((key.isolate(), key.literal()), (4094, (1 << 24) - 1));
        assert!(!key.is_wasm() && FunctionKey::WASM.is_wasm() && FunctionKey::WASM_TO_JS.is_wasm());
        assert_ne!(key.script(), key.in_isolate(1).script());
        assert!(!FunctionKey::is_distinct(1 << 20, 0) && !FunctionKey::is_distinct(0, 1 << 24));
    }

    #[test]
    fn a_function_of_any_key_is_told_from_an_address() {
        for word in
            [Word::Function(FunctionKey::WASM), Word::Bytecode(u32::MAX), Word::Address(0x7fff_ffff_ffff)]
        {
            assert_eq!(Word::unpack(word.pack()), word);
        }
    }
}
