module github.com/jaco-sh/jaco/build/tools

go 1.26.0
