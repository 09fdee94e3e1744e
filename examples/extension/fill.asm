# Four rows of sevens, and what is loaded between them.
.machine "edge"
.input "x" type=int8 format=i8 shape=64 at=dram+0
.output "y" type=int8 format=i8 shape=4x64 at=dram+64
ld ld.fill chip=sram+0 rows=4 row_bytes=64 chip_stride=64 value=7
ld ld.block element=1 dram=dram+0 chip=sram+64 n3=64 dram_stride3=1 chip_stride3=1
st st.block element=1 dram=dram+64 chip=sram+0 n3=256 dram_stride3=1 chip_stride3=1 @ld:2
