//! How much was allocated: V8's compiled code takes memory from an allocation area by moving a pointer, and only the
//! refill of a used-up area is seen. The bytes used since the last refill are credited then, and when enough has come
//! together the allocation that caused the refill is the sample. An object is as likely to be at an area's end as it is
//! large, so each byte is as likely to be sampled as any other.
//!
//! Since V8 12 the one probe is where a refill begins, since one at its return costs three times as much. So the stack is
//! taken before the object is there: it will be the first of the new area, whose start says where, at the next refill or
//! collection.
//!
//! An allocator is used by one thread, which keeps what is known of its area.
//!
//! Where refills are many, the agent has them looked at in windows only. An area counts whole if its end was seen (before V8
//! 12, if its beginning was), which is as likely as a window is open then: its bytes stand for so many times as much.

use leaktrace_common::{
    counter::Counter,
    stack::StackId,
    v8::{Check, Layout, PAGE, Window, is_area},
};

use super::{check, object, thread::Thread};
use crate::{count::count, read};

/// Allocators of a thread that are known at one time: V8 has one for each space of the main thread's heap that is
/// allocated in (new, old, code, trusted, shared, and maps before V8 12).
pub const AREAS: usize = 8;

/// The areas of a thread's allocators.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Areas {
    /// V8's allocators; 0: there is none. Apart from what is known of each, which takes a line of the CPU's cache of its own.
    allocators: [u64; AREAS],
    areas: [Area; AREAS],
    /// Which gives way next.
    next: u32,
    /// Refills before the thread's first collection.
    pub refills: u32,
}

/// What is known of an allocator's area.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Area {
    /// Up to where its bytes are credited; 0 where the area was given up since.
    counted: u64,
    /// Start of the area when it was looked at last; in V8 before 12 unknown, and its limit instead.
    started: u64,
    limit: u64,
    /// Bytes allocated since the last sample.
    credit: u64,
    /// How many there have to be for the next.
    due: u64,
    /// When the last one was taken, and how many times its interval was doubled since samples came too fast.
    last: u64,
    doubled: u32,
    /// The window that it was looked at last in.
    window: u32,
    shift: u32,
    padding: u32,
    awaited: Awaited,
}

/// A sample whose object is not there yet: the refill that it is to be made by was about to begin.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Awaited {
    pub stack: StackId,
    pub weight: u64,
    pub born: u64,
    /// 0: none is awaited.
    pub size: u64,
    /// Where its object is, once that is known.
    pub address: u64,
}

/// `v8::internal::LinearAllocationArea`: <https://github.com/nodejs/node/blob/v22.0.0/deps/v8/src/heap/linear-allocation-area.h>
struct Pointers {
    start: u64,
    top: u64,
    limit: u64,
}

#[inline(always)]
fn pointers(layout: &Layout, allocator: u64) -> Option<Pointers> {
    let area = read::user_word(allocator + u64::from(layout.allocator_area))?;
    let mut words = [0; 3];
    let [start, top, limit] = read::user(area, &mut words).then_some(words)?;
    Some(Pointers { start, top, limit })
}

impl Areas {
    #[inline(always)]
    pub fn find(&mut self, allocator: u64) -> Option<&mut Area> {
        let place = self.allocators.iter().position(|known| *known == allocator)?;
        self.areas.get_mut(place)
    }

    /// The area at a place, with its allocator.
    #[inline(always)]
    pub fn at(&mut self, place: u32) -> Option<(u64, &mut Area)> {
        let place = place as usize;
        Some((*self.allocators.get(place)?, self.areas.get_mut(place)?))
    }

    /// The oldest gives way: the collector's own, of which there are new ones in each collection, on threads that help it.
    #[inline(always)]
    fn add(&mut self, layout: &Layout, allocator: u64, pointers: Pointers, window: Window) {
        let place = self.next as usize % AREAS;
        self.next = self.next.wrapping_add(1);
        self.allocators[place] = allocator;
        let area = &mut self.areas[place];
        area.forgo();
        // The credit stays the thread's.
        area.counted = pointers.top;
        area.started = pointers.start;
        area.limit = pointers.limit;
        area.see_in(window);
        area.due = area.next_due(layout);
    }
}

/// Before a refill: credits what was allocated until now, and says in `thread.found` what was awaited, if it is there.
/// Returns the bytes that the next object stands for, 0 if it is not to be a sample.
#[inline(always)]
pub fn refill(layout: &mut Layout, thread: &mut Thread, allocator: u64, window: Window) -> u64 {
    thread.found.size = 0;
    let pointers = pointers(layout, allocator);
    if check::is_wanted(layout, Check::Area) {
        match pointers {
            // As it is after a collection.
            Some(Pointers { limit: 0, .. }) => {}
            Some(Pointers { start, top, limit }) => {
                check::note(layout, Check::Area, is_area(start, top, limit));
            }
            None => check::note(layout, Check::Area, false),
        }
    }
    let Some(pointers) = pointers else { return 0 };
    let Some(area) = thread.areas.find(allocator) else {
        // What it was used for before is nobody's.
        thread.areas.add(layout, allocator, Pointers { limit: 0, ..pointers }, window);
        return 0;
    };
    area.enter(window);
    area.close(&pointers, &mut thread.found);
    area.due(layout)
}

/// The same of one of the thread's areas, before a collection, which gives areas up; one that `is_minor` those of young objects
/// alone.
#[inline(always)]
pub fn give_up(
    layout: &Layout,
    allocator: u64,
    area: &mut Area,
    found: &mut Awaited,
    window: Option<Window>,
    is_minor: bool,
) {
    found.size = 0;
    if allocator == 0 {
        return;
    }
    let Some(pointers) = pointers(layout, allocator) else {
        area.forgo();
        return;
    };
    if area.limit == 0 {
        let Some(window) = window else {
            area.forgo();
            return;
        };
        area.enter(window);
        area.close(&pointers, found);
        return;
    }
    let used = pointers.top.wrapping_sub(area.counted);
    // Where the area is another one by now, how far the last one got is not known: not at all, rather than too far. Unless
    // nobody looked: then it was used up, as areas are.
    if area.counted != 0 && pointers.top <= area.limit && used <= PAGE {
        area.credit(used);
    } else if area.counted != 0 && window.is_none_or(|window| window.number != area.window) {
        area.credit(area.limit.wrapping_sub(area.counted).min(PAGE));
    }
    let stays =
        is_minor && pointers.limit == area.limit && object::is_young(layout, pointers.start) == Some(false);
    area.counted = if stays { pointers.top } else { 0 };
}

/// Credits what was allocated until now where the area is known to be used up, and already another one.
#[inline(always)]
pub fn close_at_limit(thread: &mut Thread, allocator: u64) {
    let Some(area) = thread.areas.find(allocator) else { return };
    if area.counted != 0 {
        let used = area.limit.wrapping_sub(area.counted);
        if used <= PAGE {
            area.credit(used);
        }
        area.counted = 0;
    }
}

impl Area {
    #[inline(always)]
    fn close(&mut self, pointers: &Pointers, found: &mut Awaited) {
        let Pointers { start, top, limit } = *pointers;
        if start == 0 || top < start || limit < top || top - start > PAGE {
            self.forgo();
            return;
        }
        let is_new = start != self.started;
        // The refill may have failed, and then another comes after a collection.
        if is_new && self.awaited.size != 0 && top - start >= self.awaited.size {
            *found = Awaited { address: start, ..self.awaited };
            self.awaited.size = 0;
        } else {
            self.forgo();
        }
        let from = if is_new || self.counted < start || self.counted > top { start } else { self.counted };
        self.credit(top - from);
        self.counted = top;
        self.started = start;
    }

    /// What was seen in another window says nothing of the area that there is now.
    #[inline(always)]
    fn enter(&mut self, window: Window) {
        if self.window != window.number {
            self.see_in(window);
            self.forgo();
            self.counted = 0;
        }
    }

    #[inline(always)]
    fn see_in(&mut self, window: Window) {
        self.window = window.number;
        self.shift = window.shift & 31;
    }

    /// So many bytes were allocated, seen in a window or not.
    #[inline(always)]
    fn credit(&mut self, seen: u64) {
        self.credit += seen << (self.shift & 31);
    }

    /// What was awaited is not to be found: its bytes are another sample's.
    #[inline(always)]
    fn forgo(&mut self) {
        if self.awaited.size != 0 {
            self.credit += self.awaited.weight;
            self.awaited.size = 0;
        }
    }

    /// The bytes that the next object stands for; 0 if it is not to be a sample.
    #[inline(always)]
    pub fn due(&mut self, layout: &Layout) -> u64 {
        if self.credit < self.due {
            return 0;
        }
        let weight = self.credit;
        self.credit = 0;
        self.due = self.next_due(layout);
        weight
    }

    #[inline(always)]
    pub fn wait_for(&mut self, stack: StackId, weight: u64, size: u64) {
        self.awaited = Awaited { stack, weight, born: read::now(), size, address: 0 };
    }

    /// Between a half and one and a half of the interval, each as likely: a program that allocates in step with the samples
    /// would otherwise always show the same object. The interval doubles where samples come faster than the user pays for.
    #[inline(always)]
    fn next_due(&mut self, layout: &Layout) -> u64 {
        const MOST: u32 = 8;
        let now = read::now();
        let mut apart = now - self.last;
        self.last = now;
        // In windows they may come so much faster.
        let least = layout.least_apart >> (self.shift & 31);
        if apart < least && self.doubled < MOST {
            self.doubled += 1;
        }
        // At once, as far as it went too far: the next one is as long in coming.
        for _ in 0..MOST {
            if apart > least * 4 && self.doubled > 0 {
                self.doubled -= 1;
                apart >>= 1;
            }
        }
        let interval = layout.interval << (self.doubled & 15);
        (interval >> 1) + ((interval >> 8).wrapping_mul(u64::from(read::random() >> 8)) >> 16)
    }
}

/// An area begins at the object at `address`. Returns the bytes that this object stands for, 0 if it is not to be a sample.
#[inline(always)]
pub fn open(layout: &mut Layout, thread: &mut Thread, allocator: u64, address: u64, window: Window) -> u64 {
    let Some(Pointers { start, top, limit }) = pointers(layout, allocator) else { return 0 };
    // The object that was just handed out lies in the area.
    let is_in = address < limit && limit - address <= PAGE;
    if check::is_wanted(layout, Check::Area) {
        check::note(layout, Check::Area, is_in && is_area(start, top, limit));
    }
    if !is_in && limit != address {
        count(Counter::AreaUnlike);
        return 0;
    }
    if let Some(area) = thread.areas.find(allocator) {
        area.counted = address;
        area.limit = limit;
        area.see_in(window);
        return area.due(layout);
    }
    thread.areas.add(layout, allocator, Pointers { start: 0, top: address, limit }, window);
    0
}
