//! Lock, fence, record, run, resume, undo: how a change is carried out.
