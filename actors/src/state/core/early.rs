//! Calls that come before recovery is done: they wait in the table under the bounds of their kinds, as they would
//! later, so that what floods one kind costs neither memory without bound nor the other kinds their place.

use roadbed_messages::api::workers::CallId;

use super::calls::{Kind, Pending, Stage};
use super::push::{qc_push_bytes, size_bytes};
use super::{Core, Request};

impl Core {
    pub(super) fn admit_early(&mut self, call: CallId, request: Request) {
        let (kind, number, bytes) = match &request {
            Request::PushQc(push) => match push.qc.range(&self.committee) {
                Ok(range) => (Kind::PushQc, range.start.0, qc_push_bytes(push)),
                Err(error) => return self.refuse(Kind::PushQc, call, error.into()),
            },
            Request::PushBlock(push) => (Kind::PushBlock, push.number.0, size_bytes(&*push.block)),
            Request::PushAppHash(push) => (Kind::PushAppHash, push.number.0, 0),
            Request::GetQc(get) => (Kind::GetQc, get.number.0, 0),
            Request::GetBlock(get) => (Kind::GetBlock, get.number.0, 0),
            Request::GetGlobalBlock(get) => (Kind::GetBlock, get.number.0, 0),
            Request::GetAppProposal(get) => (Kind::GetAppProposal, get.number.0, 0),
            Request::TryGetBlock(get) => (Kind::TryGet, get.number.0, 0),
            Request::GetBlockByHash(_) => (Kind::TryGet, 0, 0),
            Request::NeedBlock(need) => (Kind::TryGet, need.number.0, 0),
            Request::Subscribe(subscribe) => (Kind::of_stream(subscribe.only_durable), subscribe.from.0, 0),
            Request::PruneBefore(_) => (Kind::PruneBefore, 0, 0),
            Request::NextBlock | Request::GetStatus | Request::Shutdown => {
                unreachable!("{request:?} does not wait for recovery")
            }
        };
        self.admit(call, kind, number, bytes, Stage::Early, Pending::Early(request));
    }

    /// Takes up the calls that came early, in their order.
    pub(super) fn take_up_early(&mut self) {
        for id in self.calls.ids() {
            if let Some(Pending::Early(request)) = self.calls.remove(id).map(|call| call.pending) {
                self.on_call(id, request);
            }
        }
    }
}
