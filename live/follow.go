package live

import "github.com/seed-147127fe/streamhub"

// MaxFollowed is the largest number of ids of one [Streams.Follow].
const MaxFollowed = 100

// FollowOptions say what [Streams.Follow] yields; nil stands for the defaults.
type FollowOptions struct {
	// Cursor resumes after an [Update]. Without it each stream begins with the first chunk of its
	// current generation.
	Cursor streamhub.Cursor
	// Generations makes Follow yield every kept and every future generation of the ids. The sequence then ends only
	// with its context.
	Generations bool
}

// An Update is one step of one of the streams that [Streams.Follow] yields: a chunk, or the end of a generation.
type Update struct {
	ID string
	// Chunk is the published chunk. At the end of a generation only its Generation is set.
	Chunk
	// Cursor resumes all streams after this update. Before the first chunk it is FollowOptions.Cursor.
	Cursor streamhub.Cursor
	// Verdict is set at the end of a generation. A reader that resumes may get it twice.
	Verdict *streamhub.Verdict
	// Err is set, in place of a verdict, for a generation that cannot be read any more.
	Err error
}

// ListOptions say where [Streams.List] begins; nil stands for the start.
type ListOptions struct {
	// AfterID and AfterGeneration are the id and generation of the last stream of an earlier list, which the new list
	// continues.
	AfterID         string
	AfterGeneration uint64
}
