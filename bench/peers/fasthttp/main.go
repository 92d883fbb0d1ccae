// peer ROOT PORT: fasthttp with every file of ROOT in memory.
package main

import (
	"io/fs"
	"log"
	"os"
	"path/filepath"

	"github.com/valyala/fasthttp"
)

func main() {
	root, port := os.Args[1], os.Args[2]
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[path[len(root):]], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := func(ctx *fasthttp.RequestCtx) {
		body, ok := files[string(ctx.Path())]
		if !ok {
			ctx.NotFound()
			return
		}
		ctx.SetContentType("text/plain")
		ctx.Response.SetBodyRaw(body)
	}
	log.Fatal(fasthttp.ListenAndServe(":"+port, handler))
}
