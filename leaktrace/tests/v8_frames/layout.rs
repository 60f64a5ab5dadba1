//! What the decoder has to know of a node, from its binary.

use std::{ops::Range, path::Path};

use leaktrace::{
    binary,
    runtime::v8::{
        detect::{Detected, detect},
        layout::Layout,
    },
};
use object::{Object, ObjectSegment};

pub(crate) struct Binary {
    pub(crate) layout: Layout,
    pub(crate) builtins: Range<u64>,
    /// First bytes of the builtins, by which a copy is known.
    pub(crate) signature: Vec<u8>,
}

/// None where V8 cannot be read of this build.
pub(crate) fn read(node: &Path) -> Option<Binary> {
    let data = std::fs::read(node).unwrap();
    let Detected::Usable(v8) = detect(&binary::Binary::parse(&data).ok()?, &data) else { return None };
    let (layout, builtins) = (v8.layout?, v8.builtins?);
    let file = object::File::parse(&*data).unwrap();
    assert_eq!(file.kind(), object::ObjectKind::Executable, "not built to be loaded anywhere");
    let mut segments = file.segments();
    let signature = segments.find_map(|segment| segment.data_range(builtins.start.0, 64).ok()?)?.to_vec();
    Some(Binary { layout, builtins: builtins.start.0..builtins.end.0, signature })
}
