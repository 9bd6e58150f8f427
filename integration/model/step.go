package model

// An Op is what a step does.
type Op string

// The operations.
const (
	Append    Op = "append"
	AppendAll Op = "append all"
	Repeat    Op = "repeat" // an append that had a TRX id of its own
	Create    Op = "create"
	Fork      Op = "fork"
	Close     Op = "close"
	Delete    Op = "delete"
	Trim      Op = "trim"
	Touch     Op = "touch"
	Read      Op = "read"
	ReadSpace Op = "read space"
	Status    Op = "status"
	Peek      Op = "peek"
	List      Op = "list"
	Sweep     Op = "sweep"
	Wait      Op = "wait" // time passes
	Save      Op = "save"
	Rewind    Op = "rewind" // Redis comes back as it was saved
	Promote   Op = "promote"
	Follow    Op = "follow"        // a segment, or without one a space
	Drain     Op = "drain"         // a slow follower
	Resume    Op = "resume"        // a follower ends, and another one goes on after it
	Acquire   Op = "acquire lease" // for a holder that Producer names
	Renew     Op = "renew lease"
	Release   Op = "release lease"
	Cut       Op = "cut"  // connections to gateways
	Deaf      Op = "deaf" // notifications are lost, until the next such step

	// Of programs with an archive.
	Archive Op = "archive" // the archiver of a writer takes a turn, after which Redis keeps Limit entries of each segment
	Restore Op = "restore" // Redis loses all, and gets what is archived

	// Over HTTP, as Durable Streams: Cursor counts back over offsets.
	Put  Op = "put"  // with Of a fork, from the offset
	Post Op = "post" // if the stream ends at the offset
	Get  Op = "get"  // what comes after it, with Live by a long-poll, with Slow as an event stream
	Head Op = "head"
	Drop Op = "drop" // deletes the stream

	// Of live streams: Seg is the id, At the slot of a producer or of a viewer.
	Register   Op = "register"
	Publish    Op = "publish"
	Describe   Op = "describe" // replaces the metadata
	End        Op = "end"      // with Close done or failed; without one the producer is closed
	Beat       Op = "beat"
	HandOver   Op = "hand over"
	Messages   Op = "messages" // after From
	Send       Op = "send"
	Cancel     Op = "cancel"
	Remove     Op = "remove"
	LiveStatus Op = "live status"
	View       Op = "view"    // with Any what is there as one chunk
	Silence    Op = "silence" // producers of no process are not heard of
)

// A Step is one call of a program, or something that happens to it. Only the fields that its Op uses
// mean something.
type Step struct {
	Op     Op
	By     int // the writer that makes the call
	Space  string
	Seg    string
	N      int  // records
	Meta   bool // they have metadata
	Batch  []Step
	Expect int // 1 the right sequence, 2 one too high, 3 one too low
	Gen    int
	// Producer names one; Turn is 0 for its next append, 1 for the last one again, 2 for one before
	// that, 3 for one that skips, 4 for the one after what was acknowledged last, whatever is there; Epoch is added to the one in force.
	Producer    string
	Turn, Epoch int
	Own         bool   // the caller chooses the TRX id
	Close       string // kind of verdict
	Type, Order string // content type, stream sequence
	Must, Check bool
	Life        int // names the incarnation of the position that was seen so many places ago
	Of          string
	At          int // the slot of a follower; where to fork: 0 at the end, else this many entries before it, less one
	TTL, For    int // milliseconds
	Fixed       bool
	UpTo        int
	// Cursor counts back over the cursors of what is read, 0 is none. Any takes one of anything.
	Cursor       int
	Any          bool
	From, To     int
	After, Until int // count back over the timestamps that were seen
	Limit        int
	Live, Slow   bool // a follower begins at the end; it is drained by steps alone
	Lose, Drop   int  // how many scripts in a row lose their replies, or are lost themselves
	Pass         int  // how many scripts of the step come before those
	// Once and Takeover say how a live stream is registered, Remote that its producer has no process. Own
	// registers again with the key that was used last. A message with Once has a name that all of them have. A get with
	// Once reads what was read last.
	Once, Takeover, Remote bool
}
