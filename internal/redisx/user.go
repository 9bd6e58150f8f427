package redisx

// UserRule is what a user of Redis needs to open a hub and to do everything with it, for ACL SETUSER.
const UserRule = "resetkeys resetchannels ~sh:* &sh:* -@all " +
	"+eval +evalsha +script|load " +
	"+xadd +xrange +xrevrange +xtrim +xdel " +
	"+hget +hset +hsetnx +hmget +hgetall +hdel +get +set +del +unlink +exists +pexpire +pttl " +
	"+zadd +zrem +zscore +zrangebylex +zrangebyscore +sadd +srem +scard +smembers +sscan " +
	"+publish +subscribe +unsubscribe +ping +hello +info +wait +time +select +client|setname"
