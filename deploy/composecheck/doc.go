// Package composecheck checks what docker-compose.yml starts, without starting it.
//
// It has tests only, which make compose-check runs. They load the file with the library docker compose itself uses, so
// whatever its schema refuses fails here too; and they compare the file with its neighbours, the Dockerfiles and the
// proxy's configuration, which no schema knows about.
//
// It is a module of its own, so that the library's go.mod stays free of that loader.
package composecheck
