//! From what was found to what it is enough for.

use super::{
    Capability, Evidence, Lack, Missing, Point, V8, can,
    objects::{self},
    v8,
};

/// A reason's list of missing constants is cut here; the first ones tell.
const NAMED: usize = 3;

impl Evidence<'_> {
    pub(super) fn judge(self) -> V8 {
        let mut judged = Judged::default();
        judged.collections(&self);
        judged.frames(&self);
        judged.samples(&self);
        judged.young(&self);
        judged.old(&self);
        // Without it what an isolate held when it ended counts as live.
        judged.points(&self, Capability::Ends, &[Point::TearDown]);
        judged.types(&self);
        let layout = judged.names(&self);
        judged.web_assembly(&self);
        judged.lacks.sort_by_key(|lack| lack.capability);
        V8 {
            version: self.version,
            layout,
            builtins: self.builtins,
            allocator_area: self.allocator_area,
            code_manager: self.code_manager,
            points: self.plan.points,
            lacks: judged.lacks,
            left_out: self.plan.left_out,
            kernel: judged.kernel,
        }
    }

    fn missing(&self, Missing(names): &Missing) -> String {
        if self.constants.is_empty() {
            return "the binary has no v8dbg_ constants; V8 was built without v8_postmortem_support, or they are \
                    hidden"
                .to_owned();
        }
        let more = names.len().saturating_sub(NAMED);
        let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("not known of V8 {}: {named}{more}", self.version)
    }
}

#[derive(Default)]
struct Judged {
    kernel: v8::Layout,
    lacks: Vec<Lack>,
}

impl Judged {
    fn lacks(&mut self, capability: Capability, reason: impl Into<String>) {
        self.lacks.push(Lack { capability, reason: reason.into() });
    }

    /// Whether all `points` are there; if not, `capability` is lacking.
    fn points(&mut self, evidence: &Evidence<'_>, capability: Capability, points: &[Point]) -> bool {
        let missing = points.iter().find(|point| !evidence.plan.has(**point));
        if let Some(point) = missing {
            self.lacks(capability, format!("{} is not among the binary's symbols", function_of(*point)));
        }
        missing.is_none()
    }

    fn collections(&mut self, evidence: &Evidence<'_>) {
        // Without the sizes a collection still has its time and kind.
        self.points(evidence, Capability::Collections, &[Point::Collect]);
    }

    fn frames(&mut self, evidence: &Evidence<'_>) {
        let constants = &evidence.constants;
        let read = objects::function(constants, evidence.version).and_then(|function| {
            let (shared, script) = objects::shared_and_script(constants)?;
            let (map, types) = objects::map_and_types(constants)?;
            Ok((function, shared, script, map, types))
        });
        match read {
            Err(missing) => self.lacks(Capability::Frames, evidence.missing(&missing)),
            Ok(_) if evidence.builtins.is_none() => {
                self.lacks(
                    Capability::Frames,
                    "v8_Default_embedded_blob_code_ is not among the binary's symbols",
                );
            }
            Ok((function, shared, script, map, types)) => {
                let kernel = &mut self.kernel;
                kernel.can |= can::FRAMES;
                kernel.interpreter = evidence.interpreter;
                // `StackFrame::TypeToMarker` makes a small integer of 31 bits of it, whatever the build's are.
                let frame = |name: &str| {
                    let kind = constants.value(name).and_then(|kind| u16::try_from(kind << 1).ok());
                    kind.unwrap_or(0)
                };
                kernel.wasm_frame = frame("frametype_WasmFrame");
                kernel.wasm_to_js_frame = frame("frametype_WasmToJsFrame");
                kernel.function_shared = function.shared;
                kernel.first_function_type = types.first_function.into();
                kernel.last_function_type = types.last_function.into();
                kernel.shared_script = shared.script;
                kernel.shared_literal = shared.literal;
                kernel.script_id = script.id;
                kernel.map_instance_type = map.instance_type;
            }
        }
    }

    fn samples(&mut self, evidence: &Evidence<'_>) {
        let slow = if evidence.version.major < 12 { Point::AllocateObserved } else { Point::AllocateSlow };
        if !self.points(evidence, Capability::Samples, &[slow]) {
            return;
        }
        match evidence.allocator_area {
            Some(_) => self.kernel.can |= can::SAMPLES,
            None => self.lacks(
                Capability::Samples,
                "MarkLabStartInitialized is not there or not as in known versions, so an allocator's area is not found",
            ),
        }
    }

    fn young(&mut self, evidence: &Evidence<'_>) {
        if let Some(pages) = evidence.young {
            self.kernel.page_flags = pages.flags;
            self.kernel.young_flags = pages.young;
        }
        if !self.points(evidence, Capability::YoungSurvival, &[Point::Collect, Point::YoungMoved]) {
            return;
        }
        match evidence.young {
            Some(_) => self.kernel.can |= can::YOUNG,
            None => self.lacks(
                Capability::YoungSurvival,
                "%InYoungGeneration is not there or not as in known versions, so young pages are not known",
            ),
        }
    }

    fn old(&mut self, evidence: &Evidence<'_>) {
        let points = [Point::Collect, Point::Marked, Point::Evacuated];
        if !self.points(evidence, Capability::OldSurvival, &points) {
            return;
        }
        match (evidence.marks, evidence.young) {
            (Some(marks), Some(_)) => {
                self.kernel.mark_bitmap = marks.bitmap;
                self.kernel.page_metadata = marks.metadata.unwrap_or(0);
                self.kernel.can |= can::OLD;
            }
            _ => self.lacks(
                Capability::OldSurvival,
                "IsUnmarkedHeapObject is not there or not as in known versions, so mark bits are not found",
            ),
        }
    }

    fn types(&mut self, evidence: &Evidence<'_>) {
        match objects::map_and_types(&evidence.constants) {
            Err(missing) => self.lacks(Capability::Types, evidence.missing(&missing)),
            Ok((map, types)) => {
                let kernel = &mut self.kernel;
                kernel.can |= can::TYPES;
                kernel.map_instance_type = map.instance_type;
                kernel.map_instance_size = map.instance_size;
                kernel.map_constructor = map.constructor;
                kernel.map_type = types.map.into();
                kernel.first_object_type = types.first_object.into();
            }
        }
    }

    fn names(&mut self, evidence: &Evidence<'_>) -> Option<super::Layout> {
        let layout = objects::layout(&evidence.constants, evidence.version, evidence.bytecode_sizes);
        layout.map_err(|missing| self.lacks(Capability::Names, evidence.missing(&missing))).ok()
    }

    /// Said only of a V8 whose frames are read: what is lacking for those is reason enough.
    fn web_assembly(&mut self, evidence: &Evidence<'_>) {
        if self.kernel.can & can::FRAMES == 0 {
            return;
        }
        let missing = match (self.kernel.wasm_frame, evidence.code_manager) {
            (0, _) => "not known of this V8: frametype_WasmFrame",
            (_, None) => "GetWasmCodeManager is not there or not as in known versions",
            _ => return,
        };
        self.lacks(Capability::WebAssembly, missing);
    }
}

/// As V8's sources write it.
fn function_of(point: Point) -> &'static str {
    match point {
        Point::Collect => "Heap::PerformGarbageCollection",
        Point::SizeOfObjects => "Heap::SizeOfObjects",
        Point::YoungMoved => "NewLargeObjectSpace::FreeDeadObjects",
        Point::Marked => "MarkCompactCollector::ClearNonLiveReferences",
        Point::Evacuated => "MarkCompactCollector::UpdatePointersAfterEvacuation",
        Point::AllocateSlow => "MainAllocator::AllocateRawSlow",
        Point::AllocateObserved => "SpaceWithLinearArea::InvokeAllocationObservers",
        Point::AllocateLarge => "LargeObjectSpace::AllocateRaw",
        Point::TearDown => "Heap::TearDown",
    }
}
