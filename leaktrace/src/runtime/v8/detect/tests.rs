use super::*;

fn nothing_found() -> Evidence<'static> {
    Evidence {
        interpreter: [0, 0],
        version: Version::new(12, 4, 254),
        constants: Constants::default(),
        plan: Plan::default(),
        builtins: None,
        bytecode_sizes: None,
        young: None,
        marks: None,
        allocator_area: None,
        code_manager: None,
    }
}

fn probe(point: Point) -> ProbePoint {
    let at = crate::binary::FileOffset(0x1000);
    ProbePoint { point, symbol: String::new(), at, returns: false, size_argument: 0 }
}

#[test]
fn a_program_without_v8_is_none() {
    let data = std::fs::read("/proc/self/exe").unwrap();
    assert_eq!(detect(&Binary::parse(&data).unwrap(), &data), Detected::NotV8);
}

#[test]
fn what_is_not_found_is_lacking_with_one_reason_each() {
    let v8 = nothing_found().judge();
    assert_eq!(v8.kernel, v8::Layout::default());
    assert_eq!(v8.layout, None);
    let lacking: Vec<_> = v8.lacks.iter().map(|lack| lack.capability).collect();
    use Capability::{Collections, Ends, Frames, Names, OldSurvival, Samples, Types, YoungSurvival};
    assert_eq!(lacking, [Collections, Frames, Names, Samples, YoungSurvival, OldSurvival, Ends, Types]);
    assert_eq!(
        v8.lacks[0].to_string(),
        "no garbage collections: Heap::PerformGarbageCollection is not among the binary's symbols"
    );
    assert!(v8.lacks[1].reason.contains("no v8dbg_ constants"), "{}", v8.lacks[1]);
}

#[test]
fn hidden_constants_leave_collections_samples_and_survival() {
    let points = [
        Point::Collect,
        Point::YoungMoved,
        Point::Marked,
        Point::Evacuated,
        Point::AllocateSlow,
        Point::TearDown,
    ];
    let v8 = Evidence {
        plan: Plan { points: points.map(probe).into(), left_out: Vec::new() },
        young: Some(YoungPages { flags: 0, young: 0x18 }),
        marks: Some(Marks { bitmap: 0x140, metadata: Some(8) }),
        allocator_area: Some(0xa0),
        ..nothing_found()
    }
    .judge();
    let lacking: Vec<_> = v8.lacks.iter().map(|lack| lack.capability).collect();
    assert_eq!(lacking, [Capability::Frames, Capability::Names, Capability::Types]);
    assert_eq!(v8.kernel.can, can::SAMPLES | can::YOUNG | can::OLD);
    assert_eq!((v8.kernel.mark_bitmap, v8.kernel.page_metadata), (0x140, 8));
}

#[test]
fn the_builtins_are_where_the_file_was_loaded() {
    let mut v8 = nothing_found().judge();
    assert_eq!(v8.kernel_layout(0x1000).builtins, [0, 0], "none is not moved");
    v8.builtins = Some(LinkAddress(0x10)..LinkAddress(0x30));
    assert_eq!(v8.kernel_layout(0x1000).builtins, [0x1010, 0x1030]);
}

#[test]
fn a_v8_that_cannot_be_used_says_why() {
    let electron = Unusable { version: Some(Version::new(12, 4, 254)), why: Why::PointerCompression };
    let text = electron.to_string();
    assert!(text.starts_with("V8 12.4.254.0 compresses its pointers"), "{text}");
    let stripped = Unusable { version: None, why: Why::Stripped };
    assert!(stripped.to_string().starts_with("V8 has no symbols"), "{stripped}");
}
