//! What becomes of what is pushed, and what the verifier is given.

use std::collections::BTreeMap;

use roadbed::Config;
use roadbed::state::core::Bounds;
use roadbed::state::core::calls::Bound;
use roadbed_messages::api::ActorKind;
use roadbed_messages::codec;

use crate::world::{Setup, World};

fn blocks(world: &World) -> BTreeMap<&'static str, u64> {
    let mut blocks = world.core.observe().blocks;
    blocks.retain(|_, count| *count > 0);
    blocks
}

#[test]
fn every_pushed_block_is_counted_once_by_what_became_of_it() {
    let mut world = World::started(&Setup::default());
    world.push_links(0..1);
    world.push_qc_alone(1);
    world.push_block(4);
    world.run();
    assert_eq!(blocks(&world), BTreeMap::from([("accepted", 4)]));
    // Blocks 3 and 5 are new, 4 is there, and the one of another link matches no header.
    let mut pushed = world.source.links[1].pushed_blocks();
    pushed.extend(world.source.links[2].pushed_blocks().pop());
    world.push_link_with(1, pushed);
    world.run();
    assert_eq!(blocks(&world), BTreeMap::from([("accepted", 6), ("duplicate", 1), ("ignored", 1)]));
    world.push_links(0..2);
    assert_eq!(blocks(&world), BTreeMap::from([("accepted", 6), ("duplicate", 1), ("ignored", 7)]));
    world.push_block(0);
    world.run();
    assert_eq!(blocks(&world), BTreeMap::from([("accepted", 6), ("duplicate", 2), ("ignored", 7)]));
}

#[test]
fn the_verifier_is_given_jobs_up_to_its_bound_of_bytes_and_not_a_byte_less() {
    let setup = Setup::default();
    let bytes = |world: &World, link: usize| {
        let link = &world.source.links[link];
        let blocks: usize = link.pushed_blocks().iter().map(|block| codec::encoded_len(&**block)).sum();
        (codec::encoded_len(&*link.qc) + blocks) as u64
    };
    let world = World::new(&setup);
    let both = bytes(&world, 0) + bytes(&world, 1);
    for (bytes_max, jobs) in [(both, 2), (both - 1, 1)] {
        let bounds = Bounds {
            push_qc: Bound { calls_max: 10, bytes_max },
            push_block: Bound { calls_max: 10, bytes_max: 0 },
            ..setup.config.bounds.clone()
        };
        let config = Config { bounds, ..setup.config.clone() };
        let mut world = World::started(&Setup { config, ..setup.clone() });
        world.held.insert(ActorKind::Verifier);
        world.push_link(0);
        world.push_link(1);
        assert_eq!(world.verifier.as_ref().unwrap().jobs.len(), jobs, "{bytes_max} bytes");
    }
}
