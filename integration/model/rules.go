package model

// A Rule is one promise of the model.
type Rule string

// The rules. Each is broken by one branch of the model that asks for it.
const (
	RuleExpected       Rule = "an expected sequence is compared"
	RuleExpectedValue  Rule = "the sequence that is expected is told"
	RuleFence          Rule = "a lower generation is refused"
	RuleFenceNone      Rule = "no generation is refused where one was seen"
	RuleFenceRises     Rule = "a higher generation is remembered"
	RuleClosed         Rule = "a closed segment takes nothing"
	RuleRepeat         Rule = "a repeat of a producer is stored once"
	RuleRepeatFirst    Rule = "a repeat is answered before anything else is looked at"
	RuleMismatch       Rule = "a repeat with another content is refused"
	RuleGap            Rule = "a producer that skips is refused"
	RuleEpoch          Rule = "a lower epoch is refused"
	RuleOld            Rule = "a repeat older than the row is not stored"
	RuleTRX            Rule = "a repeat by TRX is stored once"
	RuleContent        Rule = "another content type is refused"
	RuleStreamSeq      Rule = "a stream sequence rises"
	RuleMustExist      Rule = "a segment that must exist is not created"
	RuleCheckOnly      Rule = "a check writes nothing"
	RuleLife           Rule = "an append is not stored in another incarnation"
	RuleTold           Rule = "a process is told that its segment was deleted"
	RuleToldLost       Rule = "a process is told that what it wrote is lost"
	RuleBatchOrder     Rule = "appends of one batch to one segment keep their order"
	RuleBatchRest      Rule = "what waits after an append to a deleted segment is refused as well"
	RuleVerdictKind    Rule = "a verdict has a known kind"
	RuleTrimFrame      Rule = "a trim removes whole frames"
	RuleTrimFork       Rule = "a trim spares what a fork reads"
	RuleTrimShared     Rule = "a fork does not trim what it shares"
	RuleTrimmed        Rule = "a reader of trimmed entries is told"
	RuleTrimmedSpace   Rule = "a reader along a space is told of a trim after its cursor"
	RuleSweepHarmless  Rule = "a sweep changes no answer"
	RuleForkShares     Rule = "a fork shares entries up to where it was made"
	RuleForkInside     Rule = "a fork may be made inside a frame"
	RuleForkHeld       Rule = "a deleted parent stays while forks read it"
	RuleForkLife       Rule = "a fork is made of the incarnation that was named"
	RuleDeleteHides    Rule = "a deleted segment cannot be read"
	RuleDeleteOnce     Rule = "deleting again is no error"
	RuleRecreate       Rule = "another life begins at 1"
	RuleCursorLife     Rule = "a cursor is of one incarnation"
	RuleCursorProof    Rule = "a cursor proves its entry"
	RuleCursorExact    Rule = "a cursor resumes after its entry"
	RuleSpaceProof     Rule = "a cursor along a space proves its place"
	RuleSpaceOwn       Rule = "a cursor is of one space"
	RuleSpaceOrder     Rule = "a space is read in the order of its appends"
	RuleSpaceDeleted   Rule = "a space is read without what was deleted"
	RuleAfter          Rule = "after is exclusive"
	RuleUntil          Rule = "until is inclusive"
	RuleLimit          Rule = "a limit is kept"
	RuleTo             Rule = "a last sequence is inclusive"
	RuleExpires        Rule = "a deadline ends a segment"
	RuleRenews         Rule = "an append renews a sliding deadline"
	RuleTouch          Rule = "a touch renews a sliding deadline"
	RuleCreateOnce     Rule = "creating what is there changes nothing"
	RuleCreateConflict Rule = "creating what is there otherwise is a conflict"
	RuleNumber         Rule = "appends are numbered"
	RuleMetadata       Rule = "metadata is kept"
	RuleLineage        Rule = "an entry keeps its lineage"
	RuleFollowAll      Rule = "a follower sees every entry"
	RuleFollowEnd      Rule = "a follower of a closed segment ends after its last entry"
	RuleFollowDeleted  Rule = "a follower of a deleted segment is told"
	RuleFollowLost     Rule = "a follower of lost history is told"
	RuleLeaseHeld      Rule = "a lease has one holder"
	RuleLeaseEnds      Rule = "a lease ends with its time"
	RuleLeaseGrows     Rule = "the tokens of a lease grow"
	RulePeek           Rule = "peek is the last entry"
	RuleLists          Rule = "lists name what is there"
	RuleTimestamp      Rule = "an entry has the time of its append"
	RuleRestored       Rule = "a restore brings back what was archived last"
	RuleArchivedOnly   Rule = "a restore brings back nothing else"
)

// Rules are all of them.
var Rules = []Rule{
	RuleExpected, RuleExpectedValue, RuleFence, RuleFenceNone, RuleFenceRises, RuleClosed, RuleRepeat,
	RuleRepeatFirst, RuleMismatch, RuleGap, RuleEpoch, RuleOld, RuleTRX, RuleContent, RuleStreamSeq, RuleMustExist,
	RuleCheckOnly, RuleLife, RuleTold, RuleToldLost, RuleBatchOrder, RuleBatchRest, RuleVerdictKind, RuleTrimFrame,
	RuleTrimFork, RuleTrimShared, RuleTrimmed, RuleTrimmedSpace, RuleSweepHarmless, RuleForkShares, RuleForkInside,
	RuleForkHeld, RuleForkLife, RuleDeleteHides, RuleDeleteOnce, RuleRecreate, RuleCursorLife,
	RuleCursorProof, RuleCursorExact, RuleSpaceProof, RuleSpaceOwn, RuleSpaceOrder, RuleSpaceDeleted, RuleAfter, RuleUntil, RuleLimit,
	RuleTo, RuleExpires, RuleRenews, RuleTouch, RuleCreateOnce, RuleCreateConflict, RuleNumber, RuleMetadata,
	RuleLineage, RuleFollowAll, RuleFollowEnd, RuleFollowDeleted, RuleFollowLost, RuleLeaseHeld, RuleLeaseEnds, RuleLeaseGrows, RulePeek, RuleLists, RuleTimestamp,
	RuleRestored, RuleArchivedOnly,
}

// keeps reports whether the model keeps a rule.
func (m *Model) keeps(rule Rule) bool { return !m.off[rule] }
